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

/** The symbols of the functions that open the parts of the shared state over this worker's link, by native name. */
const OPENERS = /** @type {const} */ ({
  openShared: 'rcluster.shared',
  openTallies: 'rcluster.tallies',
  openLocks: 'rcluster.locks',
  openExchange: 'rcluster.exchange',
});

/**
 * Gives the cluster object what rcluster adds, over this worker's link. The app may only know the built-in: in a worker,
 * that is the same object.
 * @param {import('../../binding').WorkerLink} link
 */
function linked(link) {
  Object.defineProperty(builtin, SLOT, { value: () => link.slot(), configurable: true });
  for (const name of /** @type {(keyof typeof OPENERS)[]} */ (Object.keys(OPENERS))) {
    const value = (/** @type {any[]} */ ...args) => /** @type {any} */ (link)[name](...args);
    Object.defineProperty(builtin, Symbol.for(OPENERS[name]), { value, configurable: true });
  }
  addWorkerExtras(builtin);
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

module.exports = { addWorkerExtras, linked };
