'use strict';

// Errors for invalid arguments, with Node's own error codes.

const { Object, RangeError, TypeError } = require('./globals');
const { inspect } = require('node:util');

/**
 * @param {string} name
 * @param {string} type
 * @param {unknown} value
 */
function invalidType(name, type, value) {
  const message = `The "${name}" argument must be of type ${type}. Received ${inspect(value)}`;
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
}

/** @param {string} message */
function invalidValue(message) {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
}

/** @param {string} message */
function outOfRange(message) {
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' });
}

module.exports = { invalidType, invalidValue, outOfRange };
