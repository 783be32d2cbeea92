'use strict';

// Encodes values for other processes: as JSON, which is fastest, if that reproduces them exactly, otherwise
// as a structured clone. Text is JSON; bytes are a clone.

const v8 = require('node:v8');
const { Buffer, Error, JSON, Reflect, String } = require('../globals');
const { isJson } = require('../shared/json');

/**
 * @param {string} message
 * @returns {DOMException} the error of structuredClone()
 */
function cloneError(message) {
  return new DOMException(message, 'DataCloneError');
}

class Serializer extends v8.DefaultSerializer {
  /** @param {any} value */
  _writeHostObject(value) {
    if (!ArrayBuffer.isView(value)) throw cloneError(`${String(value)} could not be cloned.`);
    return Reflect.apply(/** @type {any} */ (v8.DefaultSerializer.prototype)._writeHostObject, this, [value]);
  }
}
// v8 calls it as a function, with the message.
/** @type {any} */ (Serializer.prototype)._getDataCloneError = cloneError;
// Without this, v8 throws an error of its own.
/** @type {any} */ (Serializer.prototype)._getSharedArrayBufferId = () => {
  throw cloneError('#<SharedArrayBuffer> could not be cloned.');
};

/** As structuredClone() does, which turns a Buffer into a Uint8Array. */
class StructuredSerializer extends Serializer {
  /** @param {any} value */
  _writeHostObject(value) {
    const { buffer, byteOffset, byteLength } = value;
    return super._writeHostObject(
      Buffer.isBuffer(value) ? new Uint8Array(buffer, byteOffset, byteLength) : value,
    );
  }
}

/**
 * @param {unknown} value
 * @param {typeof Serializer} [By]
 * @returns {string | Buffer} the form that the native side takes
 * @throws {DOMException} DataCloneError
 */
function encode(value, By = Serializer) {
  if (isJson(value, { once: true })) return JSON.stringify(value);
  const serializer = new By();
  serializer.writeHeader();
  serializer.writeValue(value);
  return serializer.releaseBuffer();
}

/** @param {unknown} value */
function encodeStructured(value) {
  return encode(value, StructuredSerializer);
}

/**
 * @param {string | Buffer | null | undefined} raw the native side's value
 * @returns {any}
 */
function decode(raw) {
  if (typeof raw === 'string') return JSON.parse(raw);
  if (Buffer.isBuffer(raw)) return v8.deserialize(raw);
  throw new Error('a message has no value');
}

module.exports = { cloneError, decode, encode, encodeStructured };
