'use strict';

// The operations on a store, validated and in the form that the native side expects.

const { Buffer, JSON, Number } = require('../globals');
const { failure, invalidType, invalidValue } = require('./errors');
const { members } = require('./members');
const { checkKey, checkRevision, lifetime } = require('./options');
const { encode } = require('./values');

const OP = { SET: 1, DELETE: 2, TOUCH: 3, INCREMENT: 4, CHECK: 5, CLEAR: 6 };

/** The longest key, in bytes. */
const MAX_KEY = 1024;

/** No condition. */
const ANY = -1;
/** Keeps the remaining lifetime. */
const KEEP = -2;

/**
 * @typedef {import('../../binding').SharedStore} NativeStore
 *
 * @typedef {object} Step
 * @property {number} op
 * @property {string} key
 * @property {number} kind
 * @property {unknown} raw
 * @property {number} ms
 * @property {number} revision
 * @property {number} by
 * @property {number} initial
 */

/**
 * @param {number} op
 * @param {string} key
 * @param {Partial<Step>} [rest]
 * @returns {Step}
 */
function step(op, key, rest = {}) {
  const { kind = 0, raw, ms = -1, revision = ANY, by = 0, initial = 0 } = rest;
  return { op, key, kind, raw, ms, revision, by, initial };
}

/**
 * @param {string} key
 * @param {unknown} value
 * @param {unknown} options
 */
function set(key, value, options) {
  checkKey(key);
  const [kind, raw] = encode(value);
  if (options === undefined) return step(OP.SET, key, { kind, raw });
  const { ttl, ifAbsent, ifRevision, keepTtl } = members(options, [
    'ttl',
    'ifAbsent',
    'ifRevision',
    'keepTtl',
  ]);
  flag('ifAbsent', ifAbsent);
  flag('keepTtl', keepTtl);
  if (ifAbsent && ifRevision !== undefined) {
    throw invalidValue('options.ifRevision', 'cannot be given together with ifAbsent', ifRevision);
  }
  if (keepTtl && ttl !== undefined) {
    throw invalidValue('options.ttl', 'cannot be given together with keepTtl', ttl);
  }
  const revision = ifAbsent ? 0 : ifRevision === undefined ? ANY : checkRevision(ifRevision);
  return step(OP.SET, key, { kind, raw, revision, ms: keepTtl ? KEEP : lifetime(ttl) });
}

/**
 * Sets a value that is already encoded.
 * @param {string} key
 * @param {[kind: number, raw: unknown]} value
 */
function put(key, [kind, raw]) {
  return step(OP.SET, key, { kind, raw });
}

/**
 * @param {string} key
 * @param {unknown} options
 */
function remove(key, options) {
  checkKey(key);
  const { ifRevision } = members(options, ['ifRevision']);
  return step(OP.DELETE, key, { revision: ifRevision === undefined ? ANY : checkRevision(ifRevision) });
}

/**
 * @param {string} key
 * @param {unknown} ttl
 */
function touch(key, ttl) {
  checkKey(key);
  if (ttl === undefined) throw invalidType('ttl', 'number', ttl);
  return step(OP.TOUCH, key, { ms: lifetime(ttl) });
}

/**
 * @param {string} key
 * @param {unknown} by
 * @param {unknown} options
 */
function increment(key, by, options) {
  checkKey(key);
  const { initial = 0, ttl } = members(options, ['initial', 'ttl']);
  return step(OP.INCREMENT, key, {
    by: finite('by', by),
    initial: finite('initial', initial),
    ms: lifetime(ttl),
  });
}

/**
 * @param {string} key
 * @param {unknown} [revision] if omitted, nothing is checked: the answer only shows that all earlier operations are complete
 */
function check(key, revision) {
  checkKey(key);
  if (revision === undefined) return step(OP.CHECK, key);
  return step(OP.CHECK, key, { revision: checkRevision(revision, 'revision') });
}

/** @param {unknown} options */
function clear(options) {
  const { prefix = '' } = members(options, ['prefix']);
  checkKey(prefix, 'prefix');
  return step(OP.CLEAR, prefix);
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function flag(name, value) {
  if (value === undefined || typeof value === 'boolean') return;
  throw invalidType(`options.${name}`, 'boolean', value);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @returns {number}
 */
function finite(name, value) {
  if (typeof value !== 'number') throw invalidType(name, 'number', value);
  if (!Number.isFinite(value)) throw invalidValue(name, 'must be finite', value);
  return value;
}

/**
 * The keys that an error of a request names: of a batch, those that it increments.
 * @param {Step[]} steps
 * @returns {string | string[]} an array only where necessary: otherwise each write would allocate one
 */
function keysOf(steps) {
  if (steps.length === 1) return steps[0].key;
  return steps.filter(({ op }) => op === OP.INCREMENT).map(({ key }) => key);
}

/**
 * Passes a request to the native side. If one of its steps is too large, none is sent.
 * @param {NativeStore} native
 * @param {ReturnType<NativeStore['adder']>} add
 * @param {ReturnType<NativeStore['submitter']>} submit
 * @param {Step[]} steps
 */
function send(native, add, submit, steps) {
  for (const { op, key, kind, raw, ms, revision, by, initial } of steps) {
    if (!add(op, key, kind, raw, ms, revision, by, initial)) {
      native.discard();
      throw tooLarge(native, key);
    }
  }
  switch (submit()) {
    case 0:
      return;
    case 1:
      throw tooLarge(native, keysOf(steps));
    default:
      throw failure(
        'ERR_RCLUSTER_SHARED_BACKLOG',
        'More than 64 MB of writes wait for the store: await them',
      );
  }
}

/**
 * @param {import('../../binding').SharedStore} native
 * @param {string | string[]} keys as `keysOf()` returns them
 */
function tooLarge(native, keys) {
  const most = native.field(6);
  if (typeof keys !== 'string') {
    const message = `The batch is larger than the store accepts at once, which is about ${most} bytes`;
    return failure('ERR_RCLUSTER_TOO_LARGE', message);
  }
  if (Buffer.byteLength(keys) > MAX_KEY) return longKey(keys);
  const message = `The value of ${JSON.stringify(keys)} is larger than the store accepts: at most ${most} bytes`;
  return failure('ERR_RCLUSTER_TOO_LARGE', message);
}

/** @param {string} key */
function longKey(key) {
  const message = `A key has at most ${MAX_KEY} bytes, and ${JSON.stringify(`${key.slice(0, 50)}…`)} has ${Buffer.byteLength(key)}`;
  return failure('ERR_RCLUSTER_TOO_LARGE', message);
}

/** @param {string | string[]} keys as `keysOf()` returns them */
function notNumber(keys) {
  const names = [keys].flat().map((key) => JSON.stringify(key));
  return failure(
    'ERR_RCLUSTER_NOT_NUMBER',
    `The value of ${names.join(' or ')} is not a number, or the sum is not finite`,
  );
}

module.exports = {
  MAX_KEY,
  check,
  clear,
  increment,
  keysOf,
  longKey,
  notNumber,
  put,
  remove,
  send,
  set,
  tooLarge,
  touch,
};
