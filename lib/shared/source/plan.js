'use strict';

// The option `source` of shared(): where the content of a store comes from. See types/shared.d.ts.

const path = require('node:path');
const { JSON, LONGEST_DELAY } = require('../../globals');
const { invalidType, invalidValue, outOfRange } = require('../errors');
const { members } = require('../members');

/** The default time limit of a load, in ms. */
const TIMEOUT = 30_000;

/**
 * @typedef {object} Plan
 * @property {((facts: { signal: AbortSignal }) => unknown) | undefined} load
 * @property {string | undefined} file
 * @property {(text: string) => unknown} parse
 * @property {number | undefined} every ms between the starts of two loads
 * @property {boolean} isLocal whether each process loads for itself
 * @property {((item: any) => string) | undefined} key
 * @property {number} timeout ms
 * @property {string} text a description that must be the same in all processes that open the store
 */

/**
 * @param {unknown} source
 * @returns {Plan | undefined}
 */
function checkSource(source) {
  if (source === undefined) return undefined;
  if (source === null || typeof source !== 'object') throw invalidType('options.source', 'object', source);
  const names = ['load', 'file', 'parse', 'every', 'polling', 'key', 'timeout'];
  const { load, file, parse, every, polling, key, timeout } = members(source, names, 'options.source');
  if ((load === undefined) === (file === undefined)) {
    throw invalidValue('options.source', 'has either load or file', source);
  }
  for (const [name, value] of [
    ['load', load],
    ['parse', parse],
  ]) {
    if (value !== undefined && typeof value !== 'function') {
      throw invalidType(`options.source.${name}`, 'function', value);
    }
  }
  if (file === undefined) {
    if (parse !== undefined) throw invalidValue('options.source.parse', 'is for a file', parse);
    if ((every === undefined) === (polling === undefined)) {
      throw invalidValue('options.source', 'has either every or polling, beside load', source);
    }
  } else {
    if (typeof file !== 'string' || file === '') throw invalidType('options.source.file', 'string', file);
    if (file.includes('\0')) throw invalidValue('options.source.file', 'must be without null bytes', file);
    if (polling !== undefined) throw invalidValue('options.source.polling', 'is for load', polling);
  }
  const absolute = file === undefined ? undefined : path.resolve(file);
  const own = polling === undefined ? every : polling;
  const period = own === undefined ? undefined : duration(polling === undefined ? 'every' : 'polling', own);
  const what = absolute === undefined ? 'load' : `file ${JSON.stringify(absolute)}`;
  return {
    load,
    file: absolute,
    // Editors of some systems begin a file with a byte order mark.
    parse: parse ?? ((/** @type {string} */ text) => JSON.parse(text.replace(/^\uFEFF/, ''))),
    every: period,
    isLocal: polling !== undefined,
    key: keyOf(key),
    timeout: timeout === undefined ? TIMEOUT : duration('timeout', timeout),
    text:
      polling !== undefined
        ? `polling every ${period} ms`
        : period === undefined
          ? what
          : `${what} every ${period} ms`,
  };
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function duration(name, value) {
  if (typeof value !== 'number') throw invalidType(`options.source.${name}`, 'number', value);
  if (!(value >= 1 && value <= LONGEST_DELAY)) {
    throw outOfRange(`options.source.${name}`, `1 to ${LONGEST_DELAY} ms`, value);
  }
  return value;
}

/**
 * @param {any} key the name of a member of each item, or a function
 * @returns {((item: any) => string) | undefined}
 */
function keyOf(key) {
  if (key === undefined || typeof key === 'function') return key;
  if (typeof key === 'string') return (item) => item?.[key];
  throw invalidType('options.source.key', 'string or function', key);
}

module.exports = { checkSource };
