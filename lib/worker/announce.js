'use strict';

const { Object, Promise, Reflect, Symbol, nextTick } = require('../globals');

/** The symbols under which the worker has what it waits for. See ../shared/retiring.js. */
const BEFORE_RETIRING = Symbol.for('rcluster.retiring');
const BEFORE_LEAVING = Symbol.for('rcluster.leaving');

/**
 * Emits 'retire' to the application, and waits for the promises that its listeners return.
 *
 * @param {any} worker cluster.worker
 * @param {{ reason: string, deadline: number | null }} facts
 * @returns {Promise<unknown>} resolves when all promises that the listeners returned are settled
 */
function announce(worker, facts) {
  /** @type {any[]} */
  const results = [];
  for (const listener of [...(worker[BEFORE_RETIRING] ?? []), ...worker.rawListeners('retire')]) {
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
}

/**
 * Waits until this worker holds no lock, and has answered all requests of other processes.
 *
 * @param {any} worker cluster.worker
 */
async function quiet(worker) {
  for (;;) {
    const waits = workOf(worker).map((work) => work.ended());
    const pending = waits.filter((/** @type {unknown} */ wait) => wait !== undefined);
    if (pending.length === 0) return;
    await Promise.all(pending);
  }
}

/**
 * What still holds this worker, in the form of Node's resources: the number of each kind.
 *
 * @param {any} worker cluster.worker
 */
function heldBy(worker) {
  const busy = workOf(worker).filter(({ count }) => count > 0);
  return Object.fromEntries(busy.map(({ name, count }) => [name, count]));
}

/**
 * @param {any} worker
 * @returns {{ name: string, count: number, ended: () => unknown }[]}
 */
function workOf(worker) {
  return worker[BEFORE_LEAVING] ?? [];
}

module.exports = { announce, heldBy, quiet };
