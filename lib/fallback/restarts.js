'use strict';

const { Math, monotonic } = require('../globals');

// The times of restarts: the options `backoff` and `restartIntensity`, as crates/core/src/control/supervise
// implements them.

/** @typedef {import('../primary/supervise/options').Complete} Options */

/** The restarts of the last period. */
class Budget {
  /** @type {number[]} */
  #times = [];

  /** @param {{ max: number, period: number }} intensity */
  constructor({ max, period }) {
    this.max = max;
    this.period = period;
  }

  /**
   * The number of restarts in the period that ends then, including those scheduled for later, in ms.
   * @param {number} at
   */
  used(at) {
    return this.#counted(at).length;
  }

  /** @param {number} at */
  admits(at) {
    return this.used(at) < this.max;
  }

  /**
   * When there is room again; undefined if there is room now, or never will be.
   * @param {number} now
   */
  roomAt(now) {
    const counted = this.#counted(now).sort((a, b) => a - b);
    const tooMany = counted[counted.length - this.max];
    return tooMany === undefined ? undefined : tooMany + this.period;
  }

  /**
   * @param {number} now
   * @param {number} at When it is scheduled.
   */
  spend(now, at) {
    this.#times = this.#counted(now);
    this.#times.push(at);
  }

  /** @param {number} at */
  #counted(at) {
    return this.#times.filter((time) => time + this.period > at);
  }
}

/** The failures since a worker last stayed ready for long enough. */
class Failures {
  count = 0;
  #waits = 0;
  #backoff;

  /** @param {Options['backoff']} backoff */
  constructor(backoff) {
    this.#backoff = backoff;
  }

  /**
   * Counts a failure.
   * @param {boolean} wasReady
   * @param {number} random from 0 to 1
   * @returns {number} how long to wait before the next worker, in ms
   */
  add(wasReady, random) {
    const { initial, max, factor, jitter, immediate } = this.#backoff;
    this.count++;
    if (wasReady && this.count <= immediate) return 0;
    // Without a first wait there is none: 0 times infinity would be no number.
    const wait = initial === 0 ? 0 : Math.min(max, initial * factor ** this.#waits++);
    const varied = Math.min(max, wait * (1 + jitter * (2 * random - 1)));
    // A program that cannot start must not keep the primary busy.
    return Math.max(wasReady ? 0 : 1, Math.round(varied));
  }
}

/** Whether the cluster has ever had a ready worker, and since when it tries. */
class StartUp {
  #since = monotonic();
  #hasSucceeded = false;

  /** New code starts. */
  begin() {
    this.#since = monotonic();
  }

  onReady() {
    this.#hasSucceeded = true;
  }

  /** For how long it has been tried, in ms. */
  period() {
    return Math.round(monotonic() - this.#since);
  }

  /**
   * Whether to stop starting workers, because none has ever been ready.
   * @param {number} at When the next one would be started.
   * @param {number} failures
   * @param {number} limit in ms; 0 for none
   */
  isOver(at, failures, limit) {
    return limit > 0 && !this.#hasSucceeded && failures >= 3 && at - this.#since >= limit;
  }
}

module.exports = { Budget, Failures, StartUp };
