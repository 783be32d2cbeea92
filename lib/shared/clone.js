'use strict';

// Structured clones for other processes: stores and messages use them for what JSON does not represent exactly.
//
// V8 writes values that another process cannot read, or would read as something else. Those are refused here, where
// the caller learns of it.

const v8 = require('node:v8');
const { types } = require('node:util');
const { Array, Buffer, Map, Object, RangeError, Reflect, Set, String, Symbol } = require('../globals');

/**
 * The deepest nesting. V8 needs more stack to read an object than to write it, and the reader may have less of it
 * left than the writer.
 */
const DEPTH = 1000;

/** Objects of Node and of V8 that are cloned as objects without properties. Those of other classes have symbols: see `isOfPlatform()`. */
const PLATFORM = new Set([
  'AbortController',
  'AbortSignal',
  'Blob',
  'BroadcastChannel',
  'Crypto',
  'CryptoKey',
  'Event',
  'EventTarget',
  'File',
  'FormData',
  'Headers',
  'MessageChannel',
  'MessagePort',
  'ReadableStream',
  'Request',
  'Response',
  'TransformStream',
  'URL',
  'URLSearchParams',
  'WebAssembly.Instance',
  'WebAssembly.Memory',
  'WebAssembly.Module',
  'WebSocket',
  'WritableStream',
]);

/** The beginning of the names of the symbols with which Node's classes describe how they are cloned and transferred. */
const MESSAGING = 'messaging_';

/**
 * @param {string} message
 * @returns {DOMException} the error of structuredClone()
 */
function cloneError(message) {
  return new DOMException(message, 'DataCloneError');
}

/** @param {object} value */
function uncloneable(value) {
  return cloneError(`${Reflect.apply(Object.prototype.toString, value, [])} could not be cloned.`);
}

class Serializer extends v8.DefaultSerializer {
  /** @param {any} value */
  _writeHostObject(value) {
    if (!ArrayBuffer.isView(value)) throw cloneError(`${String(value)} could not be cloned.`);
    try {
      return Reflect.apply(/** @type {any} */ (v8.DefaultSerializer.prototype)._writeHostObject, this, [
        value,
      ]);
    } catch {
      // Its memory is detached.
      throw uncloneable(value);
    }
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
    if (!Buffer.isBuffer(value)) return super._writeHostObject(value);
    const { buffer, byteOffset, byteLength } = /** @type {any} */ (value);
    return super._writeHostObject(new Uint8Array(buffer, byteOffset, byteLength));
  }
}

class Deserializer extends v8.DefaultDeserializer {
  /** A typed array with memory of its own, and not a part of the memory that is read. */
  _readHostObject() {
    const { prototype } = /** @type {any} */ (v8.DefaultDeserializer);
    const view = Reflect.apply(prototype._readHostObject, this, []);
    if (Buffer.isBuffer(view)) return view;
    const { buffer, byteOffset, byteLength } = view;
    return new view.constructor(buffer.slice(byteOffset, byteOffset + byteLength));
  }
}

/**
 * @param {unknown} value
 * @param {boolean} [isStructured] whether a Buffer becomes a Uint8Array
 * @returns {Buffer}
 * @throws {DOMException} DataCloneError
 */
function serialize(value, isStructured = false) {
  const serializer = isStructured ? new StructuredSerializer() : new Serializer();
  serializer.writeHeader();
  try {
    serializer.writeValue(value);
  } catch (error) {
    if (error instanceof RangeError) throw tooDeep();
    throw error;
  }
  // Afterwards: proxies and the like have been refused, so that this runs no code but getters.
  const found = { hasError: false };
  check(value, DEPTH, new Set(), found);
  const bytes = serializer.releaseBuffer();
  if (found.hasError) checkErrors(bytes);
  return bytes;
}

function tooDeep() {
  return cloneError(`An object that is nested more than ${DEPTH} levels deep could not be cloned.`);
}

/**
 * Refuses what cannot be read, or would be read as something else.
 * @param {any} value
 * @param {number} depth
 * @param {Set<object>} seen
 * @param {{ hasError: boolean }} found
 */
function check(value, depth, seen, found) {
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  if (depth === 0) throw tooDeep();
  seen.add(value);
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return;
  if (isOfPlatform(value)) throw uncloneable(value);
  if (types.isMap(value)) {
    Reflect.apply(Map.prototype.forEach, value, [
      (/** @type {any} */ item, /** @type {any} */ key) => {
        check(key, depth - 1, seen, found);
        check(item, depth - 1, seen, found);
      },
    ]);
    return;
  }
  if (types.isSet(value)) {
    Reflect.apply(Set.prototype.forEach, value, [
      (/** @type {any} */ item) => check(item, depth - 1, seen, found),
    ]);
    return;
  }
  if (types.isNativeError(value)) {
    found.hasError = true;
    check(/** @type {any} */ (value).cause, depth - 1, seen, found);
    return;
  }
  for (const key of Object.keys(value)) check(value[key], depth - 1, seen, found);
}

/** Whether an object is of a class of Node or V8 whose state is not in its properties. @param {object} value */
function isOfPlatform(value) {
  let prototype = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype || prototype === Array.prototype) return false;
  if (
    PLATFORM.has(/** @type {any} */ (value)[Symbol.toStringTag]) &&
    !Object.hasOwn(value, Symbol.toStringTag)
  ) {
    return true;
  }
  for (; prototype !== null; prototype = Object.getPrototypeOf(prototype)) {
    const symbols = Object.getOwnPropertySymbols(prototype);
    if (symbols.some(({ description }) => description?.startsWith(MESSAGING))) return true;
  }
  return false;
}

/** Some versions of V8 write a chain of errors that they cannot read. @param {Buffer} bytes */
function checkErrors(bytes) {
  try {
    deserialize(bytes);
  } catch (cause) {
    throw Object.assign(cloneError('An error with these causes could not be cloned.'), { cause });
  }
}

/**
 * @param {Buffer} bytes
 * @returns {any}
 */
function deserialize(bytes) {
  const deserializer = new Deserializer(bytes);
  deserializer.readHeader();
  return deserializer.readValue();
}

module.exports = { deserialize, serialize };
