'use strict';

const { Object } = require('./globals');

/**
 * Defines a property that whoever lists, copies or compares the object does not find. The descriptor inherits nothing: a
 * `get` that somebody has put on Object.prototype would make it invalid.
 *
 * @param {object} target
 * @param {string | symbol} name
 * @param {{ value: unknown } | { get: () => unknown }} descriptor a value can be replaced
 */
function defineHidden(target, name, descriptor) {
  const kind = 'value' in descriptor ? { ...descriptor, writable: true } : descriptor;
  const complete = { __proto__: null, ...kind, configurable: true, enumerable: false };
  Object.defineProperty(target, name, /** @type {any} */ (complete));
}

module.exports = { defineHidden };
