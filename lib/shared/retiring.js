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
 * @param {unknown} item
 */
function add(key, item) {
  const { worker } = /** @type {any} */ (builtin);
  if (!worker) return;
  if (worker[key] === undefined) defineHidden(worker, key, { value: [] });
  worker[key].push(item);
}

/**
 * Calls a function when this worker begins to drain. The worker does not leave before the promise is settled.
 * @param {() => Promise<unknown> | undefined} wait
 */
function beforeRetiring(wait) {
  add(BEFORE_RETIRING, wait);
}

/** Work in progress: a worker that has nothing left to serve waits until there is none. */
class InProgress {
  #count = 0;
  #prepare;
  /** @type {Promise<void> | undefined} */
  #end;
  /** @type {() => void} */
  #resolve = () => {};

  /**
   * @param {string} name for the report of what holds a worker
   * @param {() => void} [prepare] called before each wait
   */
  constructor(name, prepare) {
    this.name = name;
    this.#prepare = prepare;
    add(BEFORE_LEAVING, this);
  }

  get count() {
    return this.#count;
  }

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
    this.#prepare?.();
    if (this.#count === 0) return undefined;
    return (this.#end ??= new Promise((resolve) => (this.#resolve = resolve)));
  }
}

module.exports = { InProgress, beforeRetiring };
