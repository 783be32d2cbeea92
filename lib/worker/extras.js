'use strict';

const { Error, Object, Symbol } = require('../globals');
const builtin = require('../builtin');
const { EXTRAS, LAZY, addExtras } = require('../extras');

/**
 * The symbol under which the worker-shaped cluster object has the function that returns this worker's slot.
 * All copies of this package share it: a worker may be linked by the primary's copy and load another one
 * itself.
 */
const SLOT = Symbol.for('rcluster.slot');

/** @param {() => number} slot */
function linked(slot) {
  Object.defineProperty(builtin, SLOT, { value: slot, configurable: true });
}

/**
 * The symbol of the function that opens a shared store over this worker's link.
 */
const OPEN = Symbol.for('rcluster.shared');

/** @param {import('../../binding').WorkerLink} link */
function linkShared(link) {
  /** @type {import('../../binding').WorkerLink['openShared']} */
  const value = (...args) => link.openShared(...args);
  Object.defineProperty(builtin, OPEN, { value, configurable: true });
}

/** The symbol of the function that opens the tallies of a store over this worker's link. */
const OPEN_TALLIES = Symbol.for('rcluster.tallies');

/** @param {import('../../binding').WorkerLink} link */
function linkTallies(link) {
  const value = (/** @type {string} */ name) => link.openTallies(name);
  Object.defineProperty(builtin, OPEN_TALLIES, { value, configurable: true });
}

/** The symbol of the function that opens the locks over this worker's link. */
const OPEN_LOCKS = Symbol.for('rcluster.locks');

/** @param {import('../../binding').WorkerLink} link */
function linkLocks(link) {
  /** @type {import('../../binding').WorkerLink['openLocks']} */
  const value = (...args) => link.openLocks(...args);
  Object.defineProperty(builtin, OPEN_LOCKS, { value, configurable: true });
}

/** The symbol of the function that opens the exchange over this worker's link. */
const OPEN_EXCHANGE = Symbol.for('rcluster.exchange');

/** @param {import('../../binding').WorkerLink} link */
function linkExchange(link) {
  /** @type {import('../../binding').WorkerLink['openExchange']} */
  const value = (...args) => link.openExchange(...args);
  Object.defineProperty(builtin, OPEN_EXCHANGE, { value, configurable: true });
}

/**
 * An unpredictable identifier, prefixed with the slot of this worker in a form that the primary recognizes.
 */
function stickyId() {
  const readSlot = /** @type {any} */ (builtin)[SLOT];
  if (readSlot === undefined) throw new Error('stickyId() leads to a worker of a cluster, and this is none');
  // Loaded only here: it is large, and few workers need it.
  const { randomBytes } = require('node:crypto');
  return `s${readSlot()}~${randomBytes(15).toString('base64url')}`;
}

/**
 * @template {object} T
 * @param {T} cluster the worker-shaped cluster object
 */
function addWorkerExtras(cluster) {
  return addExtras(cluster, { ...EXTRAS, stickyId }, LAZY);
}

module.exports = { addWorkerExtras, linkExchange, linkLocks, linkShared, linkTallies, linked };
