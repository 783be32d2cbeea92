'use strict';

const { loadBinding } = require('./load-binding');

/** What rcluster has and the built-in does not. */
const EXTRAS = {
  availableParallelism() {
    return loadBinding().availableParallelism();
  },
};

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

module.exports = { EXTRAS, addExtras };
