'use strict';

const { Buffer, Math, Symbol } = require('../globals');
const { invalidType, invalidValue, outOfRange } = require('../shared/errors');
const { checkKey } = require('../shared/options');

/** The longest name, in bytes. */
const MAX_NAME = 1024;

/**
 * The key of an option of `locks.request()` for our own adapters: a worker that drains does not wait until the lock is released.
 * Of the same value in all copies of the package.
 */
const FOR_LIFE = Symbol.for('rcluster.locks.forLife');

/**
 * @param {unknown} name
 * @param {string} [what] the name of the argument in an error
 * @returns {string}
 */
function checkName(name, what = 'name') {
  const text = checkKey(name, what);
  // A code unit has three bytes at the most.
  if (text.length * 3 > MAX_NAME && Buffer.byteLength(text) > MAX_NAME) {
    throw invalidValue(what, `has ${MAX_NAME} bytes of UTF-8 at the most`, text.slice(0, 50));
  }
  return text;
}

/** The limits of a lease's time to live, in ms. The native side has the same. */
const TTL = { DEFAULT: 10_000, MIN: 100, MAX: 3_600_000 };

/**
 * Whether all machines are meant, and not this one alone.
 * @param {unknown} scope
 */
function checkScope(scope) {
  if (scope !== undefined && scope !== 'machine' && scope !== 'all') {
    throw invalidValue('options.scope', "must be 'machine' or 'all'", scope);
  }
  return scope === 'all';
}

/**
 * Checks the scope, and returns the time to live of the lease if the scope is all machines.
 * @param {unknown} scope
 * @param {unknown} ttl
 * @returns {number | undefined} ms; undefined if the scope is this machine
 */
function checkLease(scope, ttl) {
  const isLease = checkScope(scope);
  if (ttl === undefined) return isLease ? TTL.DEFAULT : undefined;
  if (typeof ttl !== 'number') throw invalidType('options.ttl', 'number', ttl);
  if (!isLease) throw invalidValue('options.ttl', "is for the scope 'all'", ttl);
  if (!(ttl >= TTL.MIN && ttl <= TTL.MAX)) {
    throw outOfRange('options.ttl', `${TTL.MIN} to ${TTL.MAX} ms`, ttl);
  }
  return Math.round(ttl);
}

module.exports = { FOR_LIFE, checkLease, checkName, checkScope };
