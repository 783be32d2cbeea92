'use strict';

// cluster.shared(): opens a store once for each name, and remembers it.

const { Error, JSON, Map, Set, Symbol, process } = require('../globals');
const { isMainThread } = require('node:worker_threads');
const builtin = require('../builtin');
const { loadBinding } = require('../load-binding');
const { checkOptions } = require('./options');
const { SharedStore } = require('./store');
const { failure, invalidType, sharedError } = require('./errors');

/**
 * Under this the cluster object of a worker has what opens a store by its link, see ../worker/extras.js.
 */
const OPEN = Symbol.for('rcluster.shared');

/**
 * Those that are open, with the options that they have been opened with.
 * @type {Map<string, { store: InstanceType<typeof SharedStore>, options: Set<string> }>}
 */
const stores = new Map();

/**
 * @param {string} name
 * @param {import('../../index').SharedOptions} [options]
 */
function shared(name, options) {
  if (typeof name !== 'string') throw invalidType('name', 'string', name);
  const json = JSON.stringify(checkOptions(options));
  const known = stores.get(name);
  // Whoever says how it is made is told by the primary if that is not so.
  if (known !== undefined && (json === '{}' || known.options.has(json))) return known.store;
  const open = opener();
  try {
    const store = new SharedStore(
      (onNews, onEnd) => open(name, json, onNews, onEnd),
      () => onLost(name),
      name,
    );
    if (known !== undefined) {
      store.release();
      known.options.add(json);
      return known.store;
    }
    stores.set(name, { store, options: new Set([json]) });
    return store;
  } catch (error) {
    throw sharedError(/** @type {Error} */ (error));
  }
}

/**
 * The thread that owns the stores is gone, or has cut this process off.
 * @param {string} name
 */
function onLost(name) {
  stores.delete(name);
  // In the primary only a failure ends it.
  if (!builtin.isWorker) {
    throw failure(
      'ERR_RCLUSTER_FAILED',
      'The native part has failed: shared stores can no longer be written to',
    );
  }
  // A worker that has lost its primary as well is about to end.
  if (process.connected) {
    const message = `This worker has lost the shared store ${JSON.stringify(name)}: writes are rejected from now on`;
    process.emitWarning(message, { code: 'RCLUSTER_SHARED' });
  }
}

/** @returns {typeof import('../../binding').openShared} */
function opener() {
  if (!isMainThread) {
    throw sharedError(new Error('ERR_RCLUSTER_SHARED shared() is for the main thread of a process'));
  }
  if (!builtin.isWorker) return loadBinding().openShared;
  const open = /** @type {any} */ (builtin)[OPEN];
  if (open !== undefined) return open;
  throw sharedError(new Error('ERR_RCLUSTER_SHARED This worker was not started by rcluster'));
}

module.exports = { shared };
