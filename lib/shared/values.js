'use strict';

const v8 = require('node:v8');
const { Array, Buffer, JSON, Number, Object } = require('../globals');
const { failure, invalidValue } = require('./errors');

/** What the bytes of a value mean. `src/node/shared_value.rs` has the same numbers. */
const KIND = {
  NUMBER: 1,
  STRING: 2,
  TRUE: 4,
  FALSE: 5,
  NULL: 6,
  BUFFER: 7,
  JSON: 8,
  JSON_UTF16: 9,
  CLONE: 10,
};

/** How deep a plain object may be nested to be kept as JSON. */
const DEPTH = 100;

/**
 * @param {unknown} value
 * @returns {[kind: number, raw: unknown]} what the native side takes
 */
function encode(value) {
  switch (typeof value) {
    case 'number':
      return [KIND.NUMBER, value];
    case 'string':
      return [KIND.STRING, value];
    case 'boolean':
      return [value ? KIND.TRUE : KIND.FALSE, undefined];
    case 'undefined':
      throw invalidValue('value', 'cannot be undefined, which is what get() returns for no value', value);
    default:
  }
  if (value === null) return [KIND.NULL, undefined];
  if (Buffer.isBuffer(value)) return [KIND.BUFFER, value];
  if (isJson(value, DEPTH)) return [KIND.JSON, JSON.stringify(value)];
  try {
    return [KIND.CLONE, v8.serialize(value)];
  } catch (cause) {
    const { message } = /** @type {Error} */ (cause);
    throw Object.assign(failure('ERR_RCLUSTER_SHARED_VALUE', `The value cannot be stored: ${message}`), {
      cause,
    });
  }
}

/**
 * Whether JSON gives back the very same: numbers that it has, no holes, nothing that it leaves out or turns into
 * something else.
 *
 * @param {unknown} value
 * @param {number} depth
 * @returns {boolean}
 */
function isJson(value, depth) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true;
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0);
    case 'object':
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) {
    const isPlain =
      Object.getPrototypeOf(value) === Array.prototype && Object.keys(value).length === value.length;
    if (!isPlain) return false;
    return value.every((item) => isJson(item, depth - 1));
  }
  if (Object.getPrototypeOf(value) !== Object.prototype || 'toJSON' in value) return false;
  for (const name of Object.keys(value)) {
    if (!isJson(/** @type {any} */ (value)[name], depth - 1)) return false;
  }
  return true;
}

/**
 * @param {number} kind
 * @param {any} raw what the native side gives
 * @returns {any}
 */
function decode(kind, raw) {
  if (kind === KIND.JSON || kind === KIND.JSON_UTF16) return JSON.parse(raw);
  if (kind === KIND.CLONE) return v8.deserialize(raw);
  return raw;
}

/**
 * What was found to be neither of the kinds that the native side makes itself.
 * @param {string | Buffer} rest what it gives instead
 * @returns {any}
 */
function made(rest) {
  return typeof rest === 'string' ? JSON.parse(rest) : v8.deserialize(rest);
}

module.exports = { decode, encode, made };
