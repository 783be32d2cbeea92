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
   * The number of restarts in the period before a time, in ms.
   * @param {number} at
   */
  used(at) {
    return this.#times.filter((time) => time > at - this.period && time <= at).length;
  }

  /** @param {number} at */
  admits(at) {
    return this.used(at) < this.max;
  }

  /** @param {number} at */
  spend(at) {
    this.#times = this.#times.filter((time) => time > at - this.period);
    this.#times.push(at);
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
    const wait = Math.min(max, initial * factor ** this.#waits++);
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
