'use strict';

// The counts of @fastify/rate-limit in a shared store. See types/fastify-rate-limit.d.ts.

const { Math, Number, wallClock } = require('../globals');
const { members } = require('../shared/members');
const { answer, checkPrefix, openStore } = require('./common');

/** The default prefix of the keys. */
const PREFIX = 'fastify-rate-limit-';

/**
 * @typedef {{ current: number, ttl: number }} Count
 * @typedef {(error: any, count?: Count) => void} Callback
 * @typedef {{ continueExceeding?: boolean, exponentialBackoff?: boolean, routeInfo?: { method?: unknown, url?: string } }} Params
 *
 * @typedef {object} Place where the counts are stored
 * @property {import('../../index').SharedStore} store
 * @property {string} prefix
 */

class RateLimitStore {
  /** @type {Place} */
  #place;

  /** @type {Params} */
  #params;

  /** The number of child limits without a route so far. */
  #children = 0;

  /**
   * @param {Params} params of the plugin
   * @param {Place} [place]
   */
  constructor(params, place = placeOf(undefined)) {
    this.#params = params;
    this.#place = place;
  }

  /**
   * Returns this class with options bound to it, because the plugin creates its store itself and passes none.
   * @param {import('./types/fastify-rate-limit').RateLimitStoreOptions} options
   */
  static with(options) {
    const place = placeOf(options);
    return class extends RateLimitStore {
      /** @param {Params} params */
      constructor(params) {
        super(params, place);
      }
    };
  }

  /**
   * @param {string} key
   * @param {Callback} callback
   * @param {number} timeWindow in ms
   * @param {number} max
   */
  incr(key, callback, timeWindow, max) {
    answer(this.#count(this.#place.prefix + key, timeWindow, max), callback);
  }

  /**
   * Reads the count of incr().
   * @param {string} key
   * @param {Callback} callback
   */
  read(key, callback) {
    const read = async () => {
      const entry = this.#place.store.entry(this.#place.prefix + key);
      return { current: entry?.value ?? 0, ttl: rest(entry) };
    };
    answer(read(), callback);
  }

  /**
   * Creates the limit of a route. A limit without a route is numbered in order of creation, so processes that
   * create theirs in the same order share the counts.
   * @param {Params} params
   */
  child(params) {
    const { method, url } = params.routeInfo ?? {};
    const name = url === undefined ? `#${(this.#children += 1)}` : `${method}${url}`;
    const { store, prefix } = this.#place;
    return new RateLimitStore(params, { store, prefix: `${prefix}${name}-` });
  }

  /**
   * @param {string} key
   * @param {number} wanted the length of the window in ms, which may be more than a store takes
   * @param {number} max
   * @returns {Promise<Count>}
   */
  async #count(key, wanted, max) {
    const timeWindow = Math.min(wanted, Number.MAX_SAFE_INTEGER);
    // A window of length 0 contains only this request.
    if (timeWindow === 0) return { current: 1, ttl: 0 };
    const { store } = this.#place;
    const current = await store.increment(key, 1, { ttl: timeWindow });
    const ttl = current > max ? this.#penalty(current - max, timeWindow) : undefined;
    const entry = store.entry(key);
    if (ttl === undefined) return { current, ttl: rest(entry) };
    // If another request has counted since, that one extends the window.
    if (entry?.value === current) await store.set(key, current, { ttl, ifRevision: entry.revision });
    return { current, ttl };
  }

  /**
   * @param {number} exceeding how far the limit is exceeded
   * @param {number} timeWindow
   * @returns {number | undefined} the new rest of the window, in ms, if it is extended
   */
  #penalty(exceeding, timeWindow) {
    const { continueExceeding, exponentialBackoff } = this.#params;
    if (continueExceeding) return timeWindow;
    if (!exponentialBackoff) return undefined;
    return Math.min(timeWindow * 2 ** (exceeding - 1), Number.MAX_SAFE_INTEGER);
  }
}

/**
 * @param {unknown} options
 * @returns {Place}
 */
function placeOf(options) {
  const { store, prefix = PREFIX } = members(options, ['store', 'prefix']);
  checkPrefix(prefix);
  return { prefix, store: openStore(store, 'fastify-rate-limit', { eviction: 'lru' }) };
}

/**
 * @param {{ expiresAt: number | undefined } | undefined} entry
 * @returns {number} ms
 */
function rest(entry) {
  return entry?.expiresAt === undefined ? 0 : Math.max(0, Math.round(entry.expiresAt - wallClock()));
}

module.exports = { RateLimitStore };
