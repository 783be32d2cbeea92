'use strict';

// Tracks the locks that the running code holds: those of the callbacks that have led to it. A request for one
// of them would wait for itself.

const { failure } = require('../shared/errors');

/**
 * @typedef {object} Held
 * @property {number} space
 * @property {string} name
 * @property {boolean} shared
 * @property {{ held: boolean }} grant
 * @property {Held | undefined} [outer]
 */

/** @type {import('node:async_hooks').AsyncLocalStorage<Held> | undefined} created for the first lock */
let storage;

/**
 * Calls a function as the holder of a lock.
 * @template T
 * @param {Held} held
 * @param {() => T} callback
 * @returns {T}
 */
function runHolding(held, callback) {
  storage ??= new (require('node:async_hooks').AsyncLocalStorage)();
  let outer = storage.getStore();
  while (outer?.grant.held === false) outer = outer.outer;
  return storage.run({ ...held, outer }, callback);
}

/**
 * The lock of this name that the running code holds, if any.
 * @param {number} space
 * @param {string} name
 */
function heldHere(space, name) {
  for (let held = storage?.getStore(); held !== undefined; held = held.outer) {
    if (held.grant.held && held.space === space && held.name === name) return held;
  }
  return undefined;
}

/** @param {string} what */
function deadlock(what) {
  const message = `${what} is requested in its own callback, which would wait for itself`;
  return failure('ERR_RCLUSTER_LOCK_DEADLOCK', message);
}

module.exports = { deadlock, heldHere, runHolding };
