'use strict';

const { Error, Object, RangeError, TypeError } = require('../globals');
const { inspect } = require('node:util');

/**
 * @param {string} code
 * @param {string} message
 */
function failure(code, message) {
  return Object.assign(new Error(message), { code });
}

/**
 * @param {string} name
 * @param {string} type
 * @param {unknown} value
 */
function invalidType(name, type, value) {
  const message = `The "${name}" argument must be of type ${type}. Received ${inspect(value)}`;
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
}

/**
 * @param {string} name
 * @param {string} what
 * @param {unknown} value
 */
function invalidValue(name, what, value) {
  const message = `The argument '${name}' ${what}. Received ${inspect(value)}`;
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
}

/**
 * @param {string} name
 * @param {string} range
 * @param {unknown} value
 */
function outOfRange(name, range, value) {
  const message = `The value of "${name}" is out of range. It must be ${range}. Received ${inspect(value)}`;
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' });
}

/**
 * The native side puts the code in front of the message.
 * @param {Error} error
 */
function sharedError(error) {
  const [, code, message] = /^(ERR_[A-Z_]+) (.*)$/s.exec(error.message) ?? [];
  return code === undefined ? failure('ERR_RCLUSTER_SHARED', error.message) : failure(code, message);
}

module.exports = { failure, invalidType, invalidValue, outOfRange, sharedError };
