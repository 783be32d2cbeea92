'use strict';

const { Array, Buffer, Map, Number, Object, String, Symbol } = require('../../globals');
const { inspect, types } = require('node:util');
const { checkKey } = require('../options');
const { MAX_KEY } = require('../steps');
const { failure } = require('../errors');
const { encode } = require('../values');

/**
 * The loaded values by key, in the form that the native side expects.
 * @typedef {Map<string, [kind: number, raw: unknown]>} Items
 */

/**
 * @param {unknown} loaded an object or a Map; with `key`, any iterable of items
 * @param {((item: any) => string) | undefined} key
 * @returns {Items}
 */
function itemsOf(loaded, key) {
  /** @type {Items} */
  const items = new Map();
  for (const [name, value] of entriesOf(loaded, key)) {
    const text = typeof name === 'number' && Number.isSafeInteger(name) ? String(name) : name;
    if (typeof text !== 'string') throw invalid(`A key is a string, and not ${inspect(name)}`);
    checkKey(text);
    if (Buffer.byteLength(text) > MAX_KEY) throw invalid(`A key has at most ${MAX_KEY} bytes`);
    if (items.has(text)) throw invalid(`Two items have the key ${inspect(text)}`);
    // A copy, because a Buffer may change while it is written.
    items.set(text, encode(Buffer.isBuffer(value) ? Buffer.from(value) : value));
  }
  return items;
}

/**
 * @param {any} loaded
 * @param {((item: any) => string) | undefined} key
 * @returns {Iterable<[unknown, unknown]>}
 */
function entriesOf(loaded, key) {
  const isObject = typeof loaded === 'object' && loaded !== null;
  const isIterable = isObject && typeof loaded[Symbol.iterator] === 'function';
  if (key !== undefined) {
    if (!isIterable) throw invalid('With the option key it has to be an array, or an iterable, of items');
    return Array.from(loaded, (item) => [key(item), item]);
  }
  if (types.isMap(loaded)) return loaded.entries();
  const prototype = isObject ? Object.getPrototypeOf(loaded) : undefined;
  // At most one prototype, so that plain objects of another context also count: a parser may have created
  // them.
  const isPlain = prototype === null || (isObject && Object.getPrototypeOf(prototype) === null);
  if (isIterable || !isPlain) {
    throw invalid('It has to be an object or a Map, or an array with the option key');
  }
  return Object.entries(loaded);
}

/** @param {string} message */
function invalid(message) {
  return failure('ERR_RCLUSTER_SOURCE', `What has been loaded cannot be used. ${message}`);
}

module.exports = { itemsOf };
