'use strict';

const { Error, Object } = require('./globals');
const { defineHidden } = require('./define');
const { loadBinding } = require('./load-binding');

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

/**
 * Loads the module only when it is used.
 * @param {string} name
 * @param {object} [options]
 */
function shared(name, options) {
  return require('./shared/index').shared(name, options);
}

/** @param {any[]} args */
function lead(...args) {
  return require('./locks/lead').leadWith(.../** @type {[any, any]} */ (args));
}

const locks = {
  /** @param {any[]} args */
  request: (...args) => require('./locks/index').request(.../** @type {[any, any]} */ (args)),
  query: () => require('./locks/index').query(),
};

/** @param {any[]} args */
function handle(...args) {
  return require('./exchange/handlers').handle(.../** @type {[any, any]} */ (args));
}

/** @param {any[]} args */
function request(...args) {
  return require('./exchange/index').request(.../** @type {[any, any]} */ (args));
}

/** @param {any[]} args */
function notify(...args) {
  return require('./exchange/index').notify(.../** @type {[any, any]} */ (args));
}

/** Properties whose module is loaded on first access. @type {Record<string, () => unknown>} */
const LAZY = {
  BroadcastChannel: () => require('./exchange/channel').BroadcastChannel,
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

module.exports = { EXTRAS, LAZY, addExtras, availableParallelism, noReport, unsupported };
