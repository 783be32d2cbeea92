'use strict';

const { Error, Object, process } = require('./globals');
const { defineHidden } = require('./define');
const { loadBinding } = require('./load-binding');

/** Whether there is one for this system. It can be done without, to try what other systems do. */
function hasNativePart() {
  return process.platform === 'linux' && process.env.RCLUSTER_FALLBACK !== '1';
}

/** How many workers make sense here. */
function availableParallelism() {
  return loadBinding().availableParallelism();
}

/**
 * @param {string} code
 * @param {string} message
 * @returns {() => never} a function that is there to say why it cannot be called
 */
function refuse(code, message) {
  return () => {
    throw Object.assign(new Error(message), { code });
  };
}

/** What has been done with connections where nothing has been. */
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
 * Loaded only when it is used.
 * @param {string} name
 * @param {object} [options]
 */
function shared(name, options) {
  return require('./shared').shared(name, options);
}

/**
 * @param {string} name
 * @param {any} leader
 */
function lead(name, leader) {
  return require('./locks/lead').lead(name, leader);
}

const locks = {
  /** @param {any[]} args */
  request: (...args) => require('./locks').request(.../** @type {[any, any]} */ (args)),
  query: () => require('./locks').query(),
};

/** What rcluster has in workers and the built-in does not. */
const EXTRAS = {
  availableParallelism,
  lead,
  locks,
  schedule: forThePrimary('cluster.schedule()'),
  shared,
  supervise: forThePrimary('cluster.supervise()'),
};

/**
 * Adds them to a cluster object. They are not enumerable, so that whoever lists, copies or compares the object
 * finds what the built-in has and no more.
 * @template {object} T
 * @param {T} cluster
 * @param {Record<string, unknown>} [extras]
 * @returns {T}
 */
function addExtras(cluster, extras = EXTRAS) {
  for (const [name, value] of Object.entries(extras)) {
    defineHidden(cluster, name, { value });
  }
  return cluster;
}

/**
 * What there is in place of something that takes the native part, where there is none.
 * @param {string} what
 */
function unsupported(what) {
  const message = `${what} needs the native part of rcluster, which there is on Linux only`;
  return refuse('ERR_RCLUSTER_UNSUPPORTED_PLATFORM', message);
}

module.exports = { EXTRAS, addExtras, availableParallelism, hasNativePart, noReport, unsupported };
