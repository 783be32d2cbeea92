'use strict';

const { Symbol } = require('../globals');
const builtin = require('../builtin');
const { keepListening } = require('../keep-listening');
const { loadBinding } = require('../load-binding');
const { inRootContext } = require('../root-context');
const { isMainThread } = require('../system');
const { failure } = require('./errors');

/**
 * The function that opens a part of the shared state in this process. In a worker, ../worker/extras.js has
 * attached it to the cluster object.
 * @template {'openShared' | 'openLocks' | 'openExchange'} Name
 * @param {Name} name of the native function
 * @param {string} key of the symbol under which a worker's cluster object has it
 * @param {string} refusal the error message in a worker thread
 * @returns {(typeof import('../../binding'))[Name]}
 * @throws {Error} ERR_RCLUSTER_SHARED
 */
function openerOf(name, key, refusal) {
  if (!isMainThread) throw failure('ERR_RCLUSTER_SHARED', refusal);
  const open = builtin.isWorker ? /** @type {any} */ (builtin)[Symbol.for(key)] : loadBinding()[name];
  if (open === undefined) throw failure('ERR_RCLUSTER_SHARED', 'This worker was not started by rcluster');
  // Its callbacks are called in the context in which it was opened.
  return /** @type {any} */ ((/** @type {any[]} */ ...args) => inRootContext(open, ...args));
}

/** @throws {Error} ERR_RCLUSTER_GONE in a worker that has left */
function checkMembership() {
  if (builtin.isWorker && !(/** @type {any} */ (builtin.worker).isConnected())) throw left();
}

/** @type {AbortController | undefined} */
let leaving;

/**
 * A signal that is aborted when this worker leaves its cluster; never in another process.
 * @throws {Error} ERR_RCLUSTER_GONE in a worker that has left
 */
function membership() {
  checkMembership();
  if (leaving === undefined) {
    const controller = (leaving = new AbortController());
    onLeave(() => controller.abort(left()));
  }
  return leaving.signal;
}

/**
 * Calls a function when this worker leaves its cluster; never in another process.
 * @param {() => void} leave
 */
function onLeave(leave) {
  // Not on the worker: the app may remove all listeners from that.
  if (builtin.isWorker) keepListening('disconnect', leave, 'prependListener');
}

function left() {
  return failure('ERR_RCLUSTER_GONE', 'This worker has left its cluster');
}

module.exports = { checkMembership, membership, onLeave, openerOf };
