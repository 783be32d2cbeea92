'use strict';

const { deserialize, serialize } = require('./clone');
const { Buffer, JSON, Object } = require('../globals');
const { failure, invalidValue } = require('./errors');
const { isJson } = require('./json');

/** Held in a variable, because each access to the property would look it up. */
const { parse } = JSON;

/** The encoding of a value. `src/node/shared_value.rs` has the same numbers. */
const KIND = {
  NUMBER: 1,
  STRING: 2,
  UTF16: 3,
  TRUE: 4,
  FALSE: 5,
  NULL: 6,
  BUFFER: 7,
  JSON: 8,
  JSON_UTF16: 9,
  CLONE: 10,
};

/**
 * @param {unknown} value
 * @returns {[kind: number, raw: unknown]} the form that the native side expects
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
  if (isJson(value)) return [KIND.JSON, JSON.stringify(value)];
  try {
    return [KIND.CLONE, serialize(value)];
  } catch (cause) {
    const { message } = /** @type {Error} */ (cause);
    throw Object.assign(failure('ERR_RCLUSTER_SHARED_VALUE', `The value cannot be stored: ${message}`), {
      cause,
    });
  }
}

/**
 * @param {number} kind
 * @param {any} raw the native side's value
 * @returns {any}
 */
function decode(kind, raw) {
  if (kind === KIND.JSON || kind === KIND.JSON_UTF16) return parse(raw);
  if (kind === KIND.CLONE) return cloned(raw);
  return raw;
}

/**
 * Whether a value equals the stored one.
 * @param {[kind: number, raw: any]} value as `encode()` returns it
 * @param {[kind: number, raw: any]} kept as the native side returns it
 */
function isSame([kind, raw], [keptKind, kept]) {
  // The native side has separate kinds for strings with two bytes per character.
  const plainKind =
    keptKind === KIND.UTF16 ? KIND.STRING : keptKind === KIND.JSON_UTF16 ? KIND.JSON : keptKind;
  if (kind !== plainKind) return false;
  if (Buffer.isBuffer(raw)) return raw.equals(kept);
  return raw === undefined || Object.is(raw, kept);
}

/**
 * Decodes a value of a kind that the native side cannot build by itself.
 * @param {string | Buffer} rest the JSON or the serialized value
 * @returns {any}
 */
function made(rest) {
  return typeof rest === 'string' ? parse(rest) : cloned(rest);
}

/** @param {Buffer} raw */
function cloned(raw) {
  try {
    return deserialize(raw);
  } catch (cause) {
    // It comes from another version of Node, or from a process that does not use this code.
    const { message } = /** @type {Error} */ (cause);
    const error = failure('ERR_RCLUSTER_SHARED_VALUE', `The value cannot be read: ${message}`);
    throw Object.assign(error, { cause });
  }
}

module.exports = { KIND, decode, encode, isSame, made };
