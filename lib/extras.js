'use strict';

const { loadBinding } = require('./load-binding');

/** How many workers make sense here. */
function availableParallelism() {
  return loadBinding().availableParallelism();
}

/** What rcluster has and the built-in does not. */
const EXTRAS = { availableParallelism };

/**
 * Adds them to a cluster object. They are not enumerable, so that whoever lists, copies or compares the object
 * finds what the built-in has and no more.
 * @template {object} T
 * @param {T} cluster
 * @param {Record<string, unknown>} [extras]
 * @returns {T & typeof EXTRAS}
 */
function addExtras(cluster, extras = EXTRAS) {
  for (const [name, value] of Object.entries(extras)) {
    Object.defineProperty(cluster, name, { value, writable: true, configurable: true, enumerable: false });
  }
  return /** @type {T & typeof EXTRAS} */ (cluster);
}

/**
 * What a worker has where there is no native part: functions that say so.
 * @param {object} worker cluster.worker
 */
function addUnsupported(worker) {
  for (const name of ['ready', 'retire']) {
    const value = () => {
      const message = `worker.${name}() needs the native part of rcluster, which there is on Linux only`;
      throw Object.assign(new Error(message), { code: 'ERR_RCLUSTER_UNSUPPORTED_PLATFORM' });
    };
    Object.defineProperty(worker, name, { value, writable: true, configurable: true, enumerable: false });
  }
}

module.exports = { EXTRAS, addExtras, addUnsupported, availableParallelism };
