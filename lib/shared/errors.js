'use strict';

const { Error, Object } = require('../globals');
const { inspect } = require('node:util');
const errors = require('../errors');
const { describe } = require('../text');

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
 * The native side prefixes the message with the code.
 * @param {Error} error
 */
function sharedError(error) {
  const [, code, message] = /^(ERR_[A-Z_]+) (.*)$/s.exec(error.message) ?? [];
  switch (code) {
    case undefined:
      return failure('ERR_RCLUSTER_SHARED', error.message);
    case 'ERR_INVALID_ARG_VALUE':
      return errors.invalidValue(message);
    case 'ERR_OUT_OF_RANGE':
      return errors.outOfRange(message);
    default:
      return failure(code, message);
  }
}

/** The error of a call with `scope: 'all'` without a backend that connects machines. */
function noBackend() {
  const message =
    "The scope 'all' needs a server that all machines have in common: setupPrimary({ backend }) names it in the primary";
  return failure('ERR_RCLUSTER_NO_BACKEND', message);
}

/** The maximum length of an error message that is sent to other processes, in characters. */
const MAX_MESSAGE = 500;

/**
 * The parts of an error that are sent to other processes. Any value can be thrown, even an object with getters that throw.
 * @param {any} error
 * @returns {{ name?: string, message: string, code?: unknown }}
 */
function described(error) {
  try {
    if (!(error instanceof Error)) return { message: describe(error).slice(0, MAX_MESSAGE) };
    const { name, message, code } = /** @type {any} */ (error);
    const isPlain = typeof code === 'number' || typeof code === 'string';
    return {
      name: `${name}`.slice(0, 100),
      message: `${message}`.slice(0, MAX_MESSAGE),
      code: isPlain && `${code}`.length < 100 ? code : undefined,
    };
  } catch {
    return { message: describe(error).slice(0, MAX_MESSAGE) };
  }
}

/** @param {{ name?: string, message: string, code?: unknown }} error */
function rebuilt({ name = 'Error', message, code }) {
  const error = new Error(message);
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
  return code === undefined ? error : Object.assign(error, { code });
}

module.exports = {
  described,
  failure,
  invalidType: errors.invalidType,
  invalidValue,
  noBackend,
  outOfRange,
  rebuilt,
  sharedError,
};
