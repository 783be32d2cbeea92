'use strict';

const { Number } = require('../globals');
const { refuseUnknownKeys } = require('../option-keys');
const { invalidType, invalidValue, outOfRange } = require('./errors');

const UNITS = { KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30 };

/**
 * @param {unknown} options
 * @returns {{ size?: number, eviction?: string }} what the native side takes
 */
function checkOptions(options) {
  const { size, eviction } = members(options, ['size', 'eviction']);
  if (eviction !== undefined && eviction !== 'none' && eviction !== 'lru') {
    throw invalidValue('options.eviction', "must be 'none' or 'lru'", eviction);
  }
  return { size: size === undefined ? undefined : bytes(size), eviction };
}

/** @param {unknown} size */
function bytes(size) {
  if (typeof size === 'number') {
    if (Number.isSafeInteger(size) && size > 0) return size;
    throw outOfRange('options.size', 'a number of bytes', size);
  }
  if (typeof size !== 'string') throw invalidType('options.size', 'number or string', size);
  const [, number, unit] = /^(\d+)(KB|MB|GB)$/.exec(size) ?? [];
  if (unit === undefined) {
    throw invalidValue('options.size', "must be like '512KB', '64MB' or '1GB'", size);
  }
  return Number(number) * UNITS[/** @type {keyof typeof UNITS} */ (unit)];
}

/**
 * @param {unknown} ttl
 * @returns {number} ms; -1 for ever
 */
function lifetime(ttl) {
  if (ttl === undefined || ttl === Infinity) return -1;
  if (typeof ttl !== 'number') throw invalidType('ttl', 'number', ttl);
  if (!(ttl > 0 && ttl <= Number.MAX_SAFE_INTEGER)) throw outOfRange('ttl', '> 0 ms', ttl);
  return ttl;
}

/**
 * @param {unknown} revision
 * @param {string} [name]
 */
function checkRevision(revision, name = 'ifRevision') {
  if (typeof revision !== 'number') throw invalidType(name, 'number', revision);
  if (!Number.isSafeInteger(revision) || revision < 0) throw outOfRange(name, 'a revision', revision);
  return revision;
}

/**
 * @param {unknown} key
 * @param {string} [name]
 * @returns {string}
 */
function checkKey(key, name = 'key') {
  if (typeof key !== 'string') throw invalidType(name, 'string', key);
  if (!(/** @type {any} */ (key).isWellFormed())) {
    throw invalidValue(name, 'must be well-formed Unicode', key);
  }
  return key;
}

/**
 * The members of an options argument; an error names one that there is not.
 * @param {unknown} options
 * @param {string[]} names
 * @returns {Record<string, any>}
 */
function members(options, names) {
  if (options === undefined) return {};
  if (options === null || typeof options !== 'object') throw invalidType('options', 'object', options);
  refuseUnknownKeys(options, names, (name) => `The argument 'options.${name}'`);
  return /** @type {Record<string, any>} */ (options);
}

module.exports = { checkKey, checkOptions, checkRevision, lifetime, members };
