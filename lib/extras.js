'use strict';

const { Error, Object } = require('./globals');
const { defineHidden } = require('./define');
const { keep, keepFolders, load } = require('./later');
const { isInPlace, loadBinding } = require('./load-binding');
// At the start, outside of any request.
require('./root-context');

/** The number of workers that makes sense on this machine. */
function availableParallelism() {
  return loadBinding().availableParallelism();
}

/**
 * @param {string} code
 * @param {string} message
 * @returns {() => never} a function or class that throws an error with the reason
 */
function refuse(code, message) {
  // An arrow function could not replace a class: `new` would throw another error.
  return function () {
    throw Object.assign(new Error(message), { code });
  };
}

/** The report of schedulingStats() before any connection. */
function noReport() {
  return { listeners: [], workers: [] };
}

/** @param {string} what */
function forThePrimary(what) {
  return refuse(
    'ERR_RCLUSTER_NOT_PRIMARY',
    `${what} is for the primary, and this is a worker: call it under \`if (cluster.isPrimary)\``,
  );
}

/** Whether the modules of the shared state, of the locks and of the messages are in memory. */
let isRead = false;

/**
 * Gives a module of the shared state, of the locks or of the messages. Most processes use none of these. The
 * first use of one reads all of them: a release may be removed, or updated in place, before the process needs
 * another.
 * @param {string} name
 * @returns {any} the exports of the module
 * @throws {Error} ERR_RCLUSTER_TOO_LATE
 */
function use(name) {
  if (!isRead) {
    checkFiles();
    keep(['errors', 'keep-listening', 'option-keys', 'stderr', 'text']);
    keepFolders(['shared', 'shared/source', 'locks', 'exchange']);
    isRead = true;
  }
  return load(name);
}

/** @throws {Error} ERR_RCLUSTER_TOO_LATE */
function checkFiles() {
  if (isInPlace()) return;
  const message =
    'The files of rcluster have been removed or replaced since this process started, and it had not used shared ' +
    'state, locks or messages before. Restart it.';
  throw Object.assign(new Error(message), { code: 'ERR_RCLUSTER_TOO_LATE' });
}

/**
 * @param {string} name
 * @param {object} [options]
 */
function shared(name, options) {
  return use('shared/index').shared(name, options);
}

/** @param {any[]} args */
function lead(...args) {
  return use('locks/lead').leadWith(...args);
}

const locks = {
  /** @param {any[]} args */
  request: (...args) => use('locks/index').request(...args),
  query: () => use('locks/index').query(),
};

/** @param {any[]} args */
function handle(...args) {
  return use('exchange/handlers').handle(...args);
}

/** @param {any[]} args */
function request(...args) {
  return use('exchange/index').request(...args);
}

/** @param {any[]} args */
function notify(...args) {
  return use('exchange/index').notify(...args);
}

/** Properties whose module is loaded on first access. @type {Record<string, () => unknown>} */
const LAZY = {
  // An ECMAScript module that imports anything from rcluster also reads this property, so only the class is
  // loaded. The first channel reads the rest.
  BroadcastChannel() {
    checkFiles();
    return load('exchange/channel').BroadcastChannel;
  },
};

/** The additions of rcluster to the cluster object of a worker. */
const EXTRAS = {
  availableParallelism,
  handle,
  lead,
  locks,
  notify,
  request,
  schedule: forThePrimary('cluster.schedule()'),
  shared,
  supervise: forThePrimary('cluster.supervise()'),
};

/**
 * Adds them to a cluster object. They are not enumerable, so that listing, copying or comparing the object
 * shows only what the built-in has.
 * @template {object} T
 * @param {T} cluster
 * @param {Record<string, unknown>} [extras]
 * @param {Record<string, () => unknown>} [lazy]
 * @returns {T}
 */
function addExtras(cluster, extras = EXTRAS, lazy = {}) {
  for (const [name, value] of Object.entries(extras)) {
    defineHidden(cluster, name, { value });
  }
  for (const [name, get] of Object.entries(lazy)) defineLazy(cluster, name, get);
  return cluster;
}

/**
 * @param {object} cluster
 * @param {string} name
 * @param {() => unknown} load
 */
function defineLazy(cluster, name, load) {
  const get = () => {
    const value = load();
    defineHidden(cluster, name, { value });
    return value;
  };
  // Writable, like the other properties.
  const set = (/** @type {unknown} */ value) => defineHidden(cluster, name, { value });
  Object.defineProperty(cluster, name, { get, set, configurable: true, enumerable: false });
}

/**
 * A replacement for a function that needs the native part, which throws.
 * @param {string} what
 */
function unsupported(what) {
  const message = `${what} needs the native part of rcluster, which exists on Linux only`;
  return refuse('ERR_RCLUSTER_UNSUPPORTED_PLATFORM', message);
}

module.exports = { EXTRAS, LAZY, addExtras, availableParallelism, noReport, unsupported, use };
