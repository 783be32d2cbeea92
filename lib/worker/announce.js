'use strict';

const { Promise, Reflect, Symbol, nextTick } = require('../globals');

/** The symbol under which the worker has the function that ends its leadership. See ../locks/lead.js. */
const BEFORE_RETIRING = Symbol.for('rcluster.retiring');

/**
 * Emits 'retire' to the application, and waits for the promises that its listeners return.
 *
 * @param {any} worker cluster.worker
 * @param {{ reason: string, deadline: number | null }} facts
 * @returns {Promise<unknown>} resolves when all promises that the listeners returned are settled
 */
module.exports = function announce(worker, facts) {
  /** @type {any[]} */
  const results = [];
  const own = worker[BEFORE_RETIRING];
  const listeners = worker.rawListeners('retire');
  for (const listener of own === undefined ? listeners : [own, ...listeners]) {
    try {
      results.push(Reflect.apply(listener, worker, [facts]));
    } catch (error) {
      // Uncaught, as if the event had been emitted; but the drain continues.
      nextTick(() => {
        throw error;
      });
    }
  }
  const settled = results
    .filter((result) => typeof result?.then === 'function')
    .map(
      (result) =>
        new Promise((/** @type {(value: void) => void} */ resolve) => {
          // A rejection stays unhandled.
          void Promise.resolve(result).finally(resolve);
        }),
    );
  return Promise.all(settled);
};
