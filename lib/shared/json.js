'use strict';

const { Array, Number, Object, Set } = require('../globals');

/** The deepest nesting of an object that is stored as JSON. */
const DEPTH = 100;

/**
 * Whether JSON reproduces the value exactly: only numbers that JSON has, no holes, nothing that JSON omits or
 * converts, and no object that occurs twice, which JSON would duplicate.
 *
 * @param {unknown} value
 */
function isJson(value) {
  return check(value, DEPTH, undefined);
}

/**
 * @param {unknown} value
 * @param {number} depth
 * @param {Set<object> | undefined} seen the objects found so far
 * @returns {boolean}
 */
function check(value, depth, seen) {
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
  if (depth === 0 || seen?.has(value) || 'toJSON' in value) return false;
  const keys = Object.keys(value);
  const isArray = Array.isArray(value);
  if (Object.getPrototypeOf(value) !== (isArray ? Array.prototype : Object.prototype)) return false;
  // As many keys as elements may still be a hole and a named property. Indexes come first.
  if (isArray && (keys.length !== value.length || !endsWithIndex(keys))) return false;
  let inside = seen;
  for (const key of keys) {
    const item = /** @type {any} */ (value)[key];
    // Without nested objects nothing can occur twice, so the set is created only for the first one.
    if (inside === undefined && typeof item === 'object' && item !== null) inside = new Set([value]);
    if (!check(item, depth - 1, inside)) return false;
  }
  seen?.add(value);
  return true;
}

/**
 * Whether the last of an array's keys is its last index. Named properties come after all indexes.
 * @param {string[]} keys
 */
function endsWithIndex(keys) {
  return keys.length === 0 || keys[keys.length - 1] === `${keys.length - 1}`;
}

module.exports = { isJson };
