'use strict';

// What a worker that retires waits for. The functions are on the worker, because the part of rcluster that drains it may be
// another copy of the package, and they are no listeners, because the app may remove all of these.

const { Promise, Symbol } = require('../globals');
const builtin = require('../builtin');
const { defineHidden } = require('../define');

/** See ../worker/announce.js. */
const BEFORE_RETIRING = Symbol.for('rcluster.retiring');
const BEFORE_LEAVING = Symbol.for('rcluster.leaving');

/**
 * @param {symbol} key
 * @param {() => Promise<unknown> | undefined} wait
 */
function add(key, wait) {
  const { worker } = /** @type {any} */ (builtin);
  if (!worker) return;
  if (worker[key] === undefined) defineHidden(worker, key, { value: [] });
  worker[key].push(wait);
}

/**
 * Calls a function when this worker begins to drain. The worker does not leave before the promise is settled.
 * @param {() => Promise<unknown> | undefined} wait
 */
function beforeRetiring(wait) {
  add(BEFORE_RETIRING, wait);
}

/**
 * Calls a function when this worker has nothing left to serve, and again when its promise is settled, until it returns none.
 * @param {() => Promise<unknown> | undefined} wait
 */
function beforeLeaving(wait) {
  add(BEFORE_LEAVING, wait);
}

/** Work in progress that a worker waits for before it leaves. */
class InProgress {
  #count = 0;
  /** @type {Promise<void> | undefined} */
  #end;
  /** @type {() => void} */
  #resolve = () => {};

  begin() {
    this.#count += 1;
  }

  end() {
    this.#count -= 1;
    if (this.#count > 0) return;
    this.#end = undefined;
    this.#resolve();
  }

  /** @returns {Promise<void> | undefined} undefined if there is none */
  ended() {
    if (this.#count === 0) return undefined;
    return (this.#end ??= new Promise((resolve) => (this.#resolve = resolve)));
  }
}

module.exports = { InProgress, beforeLeaving, beforeRetiring };
