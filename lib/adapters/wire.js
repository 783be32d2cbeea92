'use strict';

// The data of a packet as Socket.IO writes it for clients: as JSON, with binary values as they are. Other workers get it in
// this form, so that their clients get the same as those of this worker, and that what cannot be written fails here. Dates stay
// dates: they become the same text there, and other parsers than Socket.IO's own have a form for them.

const { Blob } = require('node:buffer');
const { types } = require('node:util');
const { Array, Number, Object, Set, TypeError } = require('../globals');
const { isJson } = require('../shared/json');

/**
 * @param {any} data
 * @returns {any}
 * @throws {TypeError} for what JSON cannot represent
 */
function onWire(data) {
  return isJson(data) ? data : convert('', data, new Set());
}

/**
 * @param {string} key the key of the value, for its toJSON()
 * @param {any} given
 * @param {Set<object>} parents the objects that contain it
 * @returns {any} undefined for what JSON leaves out
 */
function convert(key, given, parents) {
  // First, because a Buffer has toJSON().
  if (isBinary(given) || isPlainDate(given)) return given;
  const value = typeof given !== 'string' && typeof given?.toJSON === 'function' ? given.toJSON(key) : given;
  if (typeof value !== 'object') return primitive(value);
  if (value === null || isBinary(value)) return value;
  if (types.isBoxedPrimitive(value) && !types.isSymbolObject(value)) return primitive(value.valueOf());
  if (parents.has(value)) throw new TypeError('Converting circular structure to JSON');
  parents.add(value);
  const result = Array.isArray(value) ? list(value, parents) : record(value, parents);
  parents.delete(value);
  return result;
}

/** @param {any} value */
function primitive(value) {
  if (typeof value === 'bigint') throw new TypeError('Do not know how to serialize a BigInt');
  // Adding 0 turns -0 into 0.
  if (typeof value === 'number') return Number.isFinite(value) ? value + 0 : null;
  return typeof value === 'string' || typeof value === 'boolean' ? value : undefined;
}

/**
 * @param {any[]} values
 * @param {Set<object>} parents
 */
function list(values, parents) {
  return Array.from(
    { length: values.length },
    (_, index) => convert(`${index}`, values[index], parents) ?? null,
  );
}

/**
 * @param {any} object
 * @param {Set<object>} parents
 */
function record(object, parents) {
  const entries = [];
  for (const key of Object.keys(object)) {
    const value = convert(key, object[key], parents);
    if (value !== undefined) entries.push(/** @type {const} */ ([key, value]));
  }
  return Object.fromEntries(entries);
}

/** Whether it is an attachment of the packet. @param {unknown} value */
function isBinary(value) {
  if (typeof value !== 'object' || value === null) return false;
  return types.isArrayBuffer(value) || ArrayBuffer.isView(value) || value instanceof Blob;
}

/** Whether it is a date of which a copy becomes the same in JSON. @param {unknown} value */
function isPlainDate(value) {
  if (!types.isDate(value) || Object.hasOwn(value, 'toJSON')) return false;
  // Not an instance of a class of the app.
  return Object.getPrototypeOf(Object.getPrototypeOf(value)) === Object.prototype;
}

module.exports = { onWire };
