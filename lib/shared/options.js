'use strict';

const path = require('node:path');
const { Number, Object } = require('../globals');
const { checkBackend } = require('./backend');
const { invalidType, invalidValue, outOfRange } = require('./errors');
const { members } = require('./members');
const { checkSource } = require('./source/plan');

const UNITS = { KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30 };

/**
 * @typedef {import('./source/plan').Plan} Plan
 *
 * @param {unknown} options
 * @returns {{ native: { size?: number, eviction?: string, source?: string, persist?: string, backend?: object }, plan: Plan | undefined }}
 * the options for the native side, and the source of the store's content
 */
function checkOptions(options) {
  const names = ['size', 'eviction', 'source', 'persist', 'backend', 'offline'];
  const { size, eviction, source, persist, backend, offline } = members(options, names);
  if (eviction !== undefined && eviction !== 'none' && eviction !== 'lru') {
    throw invalidValue('options.eviction', "must be 'none' or 'lru'", eviction);
  }
  const plan = checkSource(source);
  const native = {
    size: size === undefined ? undefined : bytes(size),
    eviction,
    source: plan?.text,
    persist: checkPersist(persist),
    backend: checkBackend(backend, offline),
  };
  if (native.backend !== undefined && (eviction === 'lru' || native.persist)) {
    const name = eviction === 'lru' ? 'eviction' : 'persist';
    throw invalidValue(
      `options.${name}`,
      'is for a store without a backend: the server keeps it',
      eviction ?? persist,
    );
  }
  for (const [name, value] of Object.entries({ size, eviction, persist, backend })) {
    if (plan?.isLocal && value !== undefined) {
      throw invalidValue(`options.${name}`, 'is for a store that is shared, and polling is not', value);
    }
  }
  return { native, plan };
}

/**
 * @param {unknown} persist
 * @returns {string | undefined} an absolute path; empty for none
 */
function checkPersist(persist) {
  if (persist === undefined) return undefined;
  if (persist === false) return '';
  if (typeof persist !== 'string' || persist === '') {
    throw invalidType('options.persist', 'string or false', persist);
  }
  if (persist.includes('\0')) throw invalidValue('options.persist', 'must be without null bytes', persist);
  return path.resolve(persist);
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
    throw invalidValue('options.size', "must be like '2048KB', '64MB' or '1GB'", size);
  }
  return Number(number) * UNITS[/** @type {keyof typeof UNITS} */ (unit)];
}

/**
 * @param {unknown} ttl
 * @returns {number} ms; -1 for no expiry
 */
function lifetime(ttl) {
  if (ttl === undefined || ttl === Infinity) return -1;
  if (typeof ttl !== 'number') throw invalidType('ttl', 'number', ttl);
  if (!(ttl > 0 && ttl <= Number.MAX_SAFE_INTEGER)) {
    throw outOfRange('ttl', `> 0 and <= ${Number.MAX_SAFE_INTEGER} ms`, ttl);
  }
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

module.exports = { checkKey, checkOptions, checkRevision, lifetime };
