'use strict';

const { Error, Object } = require('../globals');
const { inspect } = require('node:util');
const errors = require('../errors');

/**
 * @param {string} code
 * @param {string} message
 */
function failure(code, message) {
  return Object.assign(new Error(message), { code });
}

/**
 * @param {string} name
 * @param {string} what
 * @param {unknown} value
 */
function invalidValue(name, what, value) {
  return errors.invalidValue(`The argument '${name}' ${what}. Received ${inspect(value)}`);
}

/**
 * @param {string} name
 * @param {string} range
 * @param {unknown} value
 */
function outOfRange(name, range, value) {
  const message = `The value of "${name}" is out of range. It must be ${range}. Received ${inspect(value)}`;
  return errors.outOfRange(message);
}

/**
 * The native side puts the code in front of the message.
 * @param {Error} error
 */
function sharedError(error) {
  const [, code, message] = /^(ERR_[A-Z_]+) (.*)$/s.exec(error.message) ?? [];
  return code === undefined ? failure('ERR_RCLUSTER_SHARED', error.message) : failure(code, message);
}

module.exports = { failure, invalidType: errors.invalidType, invalidValue, outOfRange, sharedError };
