'use strict';

const { Object } = require('./globals');

/**
 * Defines a property that whoever lists, copies or compares the object does not find.
 *
 * @param {object} target
 * @param {string | symbol} name
 * @param {{ value: unknown } | { get: () => unknown }} descriptor a value can be replaced
 */
function defineHidden(target, name, descriptor) {
  const kind = 'value' in descriptor ? { ...descriptor, writable: true } : descriptor;
  Object.defineProperty(target, name, { ...kind, configurable: true, enumerable: false });
}

module.exports = { defineHidden };
