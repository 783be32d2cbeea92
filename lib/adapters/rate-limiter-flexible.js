'use strict';

// A limiter of rate-limiter-flexible that keeps its points in a shared store. See
// types/rate-limiter-flexible.d.ts.

const { Math, wallClock } = require('../globals');
const { members } = require('../shared/members');
const { openStore, peer } = require('./common');

/** The base class of limiters with a store, which the package has types for but does not export. */
const RateLimiterStoreAbstract = peer(
  'rate-limiter-flexible',
  () =>
    /** @type {typeof import('rate-limiter-flexible').RateLimiterStoreAbstract} */ (
      // @ts-ignore
      require('rate-limiter-flexible/lib/RateLimiterStoreAbstract')
    ),
);
const { RateLimiterRes } = require('rate-limiter-flexible');

const OPTIONS = [
  'store',
  'keyPrefix',
  'points',
  'duration',
  'blockDuration',
  'blockOnConsumed',
  'execEvenly',
  'execEvenlyMinDelayMs',
  'inMemoryBlockOnConsumed',
  'inMemoryBlockDuration',
  'insuranceLimiter',
];

/** @typedef {{ points: number, ms: number }} Found the entry in the store; ms is -1 if it never expires */

class RateLimiterShared extends RateLimiterStoreAbstract {
  /** @type {import('../../index').SharedStore} */
  #store;

  /** @param {import('./types/rate-limiter-flexible').RateLimiterSharedOptions} options */
  constructor(options) {
    const { store, ...rest } = members(options, OPTIONS);
    super(/** @type {any} */ (rest));
    this.#store = openStore(store, 'rate-limiter-flexible', { eviction: 'lru' });
  }

  /**
   * @param {string} _key
   * @param {number} changedPoints
   * @param {Found} found
   */
  _getRateLimiterRes(_key, changedPoints, { points, ms }) {
    const remaining = Math.max(this.points - points, 0);
    return new RateLimiterRes(remaining, ms, points, points === changedPoints);
  }

  /**
   * @param {unknown} key
   * @param {number} points
   * @param {number} msDuration in ms; 0 for no limit
   * @param {boolean} [forceExpire] set the points instead of adding them to those of the current duration
   * @returns {Promise<Found>}
   */
  async _upsert(key, points, msDuration, forceExpire = false) {
    const ttl = msDuration > 0 ? msDuration : undefined;
    const name = nameOf(key);
    if (forceExpire) {
      await this.#store.set(name, points, { ttl });
      return { points, ms: ttl ?? -1 };
    }
    const consumed = await this.#store.increment(name, points, { ttl });
    const entry = this.#store.entry(name);
    return { points: consumed, ms: entry === undefined ? 0 : rest(entry) };
  }

  /**
   * @param {string} key
   * @returns {Promise<Found | null>}
   */
  async _get(key) {
    const entry = this.#store.entry(nameOf(key));
    return entry === undefined ? null : { points: entry.value, ms: rest(entry) };
  }

  /** @param {unknown} key */
  async _delete(key) {
    const { ok } = await this.#store.delete(nameOf(key));
    return ok;
  }
}

/**
 * With an empty `keyPrefix`, the library passes keys as it gets them: numbers, too.
 * @param {unknown} key
 */
function nameOf(key) {
  return `${key}`;
}

/** @param {{ expiresAt: number | undefined }} entry */
function rest({ expiresAt }) {
  return expiresAt === undefined ? -1 : Math.max(0, Math.round(expiresAt - wallClock()));
}

module.exports = { RateLimiterShared };
