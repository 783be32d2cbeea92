'use strict';

// Encodes values for other processes: as JSON, which is fastest, if that reproduces them exactly, otherwise
// as a structured clone. Text is JSON; bytes are a clone.

const { deserialize, serialize } = require('../shared/clone');
const { Buffer, Error, JSON } = require('../globals');
const { isJson } = require('../shared/json');

/**
 * @param {unknown} value
 * @param {boolean} [isStructured] whether a Buffer becomes a Uint8Array, as with structuredClone()
 * @returns {string | Buffer} the form that the native side takes
 * @throws {DOMException} DataCloneError
 */
function encode(value, isStructured = false) {
  return isJson(value) ? JSON.stringify(value) : serialize(value, isStructured);
}

/** @param {unknown} value */
function encodeStructured(value) {
  return encode(value, true);
}

/**
 * @param {string | Buffer | null | undefined} raw the native side's value
 * @returns {any}
 */
function decode(raw) {
  if (typeof raw === 'string') return JSON.parse(raw);
  if (Buffer.isBuffer(raw)) return deserialize(raw);
  throw new Error('a message has no value');
}

module.exports = { decode, encode, encodeStructured };
