'use strict';

const { Error, Object, Symbol } = require('../globals');
const { randomBytes } = require('node:crypto');
const builtin = require('../builtin');
const { EXTRAS, addExtras } = require('../extras');

/**
 * Under this the worker-shaped cluster object has what tells the slot of this worker. It is the same for all copies of
 * this package: a worker may be linked by the primary's, and load another one by itself.
 */
const SLOT = Symbol.for('rcluster.slot');

/** @param {() => number} slot */
function linked(slot) {
  Object.defineProperty(builtin, SLOT, { value: slot, configurable: true });
}

/**
 * Under this it has what opens a shared store by the link of this worker.
 */
const OPEN = Symbol.for('rcluster.shared');

/** @param {import('../../binding').WorkerLink} link */
function linkShared(link) {
  /** @type {import('../../binding').WorkerLink['openShared']} */
  const value = (...args) => link.openShared(...args);
  Object.defineProperty(builtin, OPEN, { value, configurable: true });
}

/** Under this it has what uses locks by the link of this worker. */
const OPEN_LOCKS = Symbol.for('rcluster.locks');

/** @param {import('../../binding').WorkerLink} link */
function linkLocks(link) {
  /** @type {import('../../binding').WorkerLink['openLocks']} */
  const value = (...args) => link.openLocks(...args);
  Object.defineProperty(builtin, OPEN_LOCKS, { value, configurable: true });
}

/**
 * An identifier that nobody guesses, with the slot of this worker in front: the primary knows the form.
 */
function stickyId() {
  const readSlot = /** @type {any} */ (builtin)[SLOT];
  if (readSlot === undefined) throw new Error('stickyId() leads to a worker of a cluster, and this is none');
  return `s${readSlot()}~${randomBytes(15).toString('base64url')}`;
}

/**
 * @template {object} T
 * @param {T} cluster the worker-shaped cluster object
 */
function addWorkerExtras(cluster) {
  return addExtras(cluster, { ...EXTRAS, stickyId });
}

module.exports = { addWorkerExtras, linkLocks, linkShared, linked };
