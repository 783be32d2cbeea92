'use strict';

const { Object } = require('./globals');

/**
 * Defines a property that is not enumerable, so that listing, copying or comparing the object does not show
 * it.
 *
 * @param {object} target
 * @param {string | symbol} name
 * @param {{ value: unknown } | { get: () => unknown }} descriptor a property with a value is writable
 */
function defineHidden(target, name, descriptor) {
  const kind = 'value' in descriptor ? { ...descriptor, writable: true } : descriptor;
  Object.defineProperty(target, name, { ...kind, configurable: true, enumerable: false });
}

module.exports = { defineHidden };
