'use strict';

const { Math, Promise, clearTimeout, monotonic, random, setTimeout } = require('../../globals');
const { failure } = require('../errors');
const { itemsOf } = require('./items');

/**
 * The random variation of the time between two loads, so that clusters that started together do not load
 * together.
 */
const JITTER = 0.1;

/**
 * @typedef {import('./plan').Plan} Plan
 * @typedef {import('./items').Items} Items
 *
 * @typedef {object} Sink receives the results of loads
 * @property {(items: Items, signal: AbortSignal) => number | Promise<number>} adopt returns the number of changed keys
 * @property {(changed: number) => unknown} onLoaded
 * @property {(error: unknown) => unknown} onFailed
 *
 * @typedef {object} Trigger requests a load besides the timer
 * @property {(signal: AbortSignal) => Promise<void>} wait resolves when a load is due
 */

/**
 * Loads repeatedly until the signal is aborted. It never throws.
 *
 * @param {object} wanted
 * @param {Plan} wanted.plan
 * @param {(facts: { signal: AbortSignal }) => unknown} wanted.load
 * @param {Sink} wanted.sink
 * @param {AbortSignal} wanted.signal
 * @param {number} wanted.delay until the first load, in ms
 * @param {Trigger} [wanted.trigger]
 */
async function loadAgainAndAgain({ plan, load, sink, signal, delay, trigger }) {
  await pause(delay, signal);
  while (!signal.aborted) {
    const began = monotonic();
    try {
      const loaded = await limited(load, plan.timeout, signal);
      const changed = await sink.adopt(itemsOf(loaded, plan.key), signal);
      if (!signal.aborted) await sink.onLoaded(changed);
    } catch (error) {
      if (!signal.aborted) await sink.onFailed(error);
    }
    if (signal.aborted) return;
    const { every } = plan;
    const rest = every === undefined ? undefined : every * varied() - (monotonic() - began);
    await next(rest, trigger, signal);
  }
}

function varied() {
  return 1 - JITTER + 2 * JITTER * random();
}

/**
 * @param {number | undefined} rest ms until the next load; undefined if only the trigger starts one
 * @param {Trigger | undefined} trigger
 * @param {AbortSignal} signal
 */
async function next(rest, trigger, signal) {
  const controller = new AbortController();
  const onAbort = () => controller.abort();
  signal.addEventListener('abort', onAbort, { once: true });
  const ways = [];
  if (trigger !== undefined) ways.push(trigger.wait(controller.signal));
  if (rest !== undefined) ways.push(pause(Math.max(rest, 0), controller.signal));
  await Promise.race(ways);
  controller.abort();
  signal.removeEventListener('abort', onAbort);
}

/**
 * Waits, but not beyond an abort of the signal. The timer does not keep the process alive.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms).unref();
    signal.addEventListener('abort', done, { once: true });
  });
}

/**
 * Calls `load` and rejects if it takes longer than the timeout.
 * @param {(facts: { signal: AbortSignal }) => unknown} load
 * @param {number} timeout ms
 * @param {AbortSignal} signal
 * @returns {Promise<unknown>}
 */
function limited(load, timeout, signal) {
  const controller = new AbortController();
  return new Promise((resolve, reject) => {
    const settled = (/** @type {(value: any) => void} */ then) => (/** @type {any} */ value) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      then(value);
    };
    const end = settled((reason) => {
      controller.abort(reason);
      reject(reason);
    });
    const onAbort = () => end(signal.reason);
    const message = `load() has not ended within ${timeout} ms`;
    const timer = setTimeout(() => end(failure('ERR_RCLUSTER_SOURCE', message)), timeout).unref();
    signal.addEventListener('abort', onAbort, { once: true });
    const call = async () => load({ signal: controller.signal });
    void call().then(settled(resolve), settled(reject));
  });
}

module.exports = { loadAgainAndAgain, pause };
