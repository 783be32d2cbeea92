'use strict';

// The counts of express-rate-limit in a shared store. See types/express-rate-limit.d.ts.

const { Object, Error, realGlobal, wallClock } = require('../globals');
const { members } = require('../shared/members');
const { checkPrefix, openStore } = require('./common');

class RateLimitStore {
  /** False, because all processes of the cluster share the counts. */
  localKeys = false;

  /** @type {string} */
  prefix;

  /** @type {import('../../index').SharedStore} */
  #store;

  /** @type {number | undefined} in ms */
  #window;

  /** @param {import('./types/express-rate-limit').RateLimitStoreOptions} [options] */
  constructor(options) {
    const { store, prefix = 'rl:' } = members(options, ['store', 'prefix']);
    this.prefix = checkPrefix(prefix);
    this.#store = openStore(store, 'express-rate-limit', { eviction: 'lru' });
  }

  /** @param {{ windowMs: number }} options of the middleware */
  init({ windowMs }) {
    this.#window = windowMs;
  }

  /** @param {string} key */
  async get(key) {
    const entry = this.#store.entry(this.prefix + key);
    return entry === undefined ? undefined : { totalHits: entry.value, resetTime: dateOf(entry) };
  }

  /** @param {string} key */
  async increment(key) {
    if (this.#window === undefined) {
      throw Object.assign(new Error('The store of express-rate-limit is used before its init()'), {
        code: 'ERR_INVALID_STATE',
      });
    }
    const totalHits = await this.#store.increment(this.prefix + key, 1, { ttl: this.#window });
    return { totalHits, resetTime: dateOf(this.#store.entry(this.prefix + key)) };
  }

  /**
   * Does not start a new window if the old one has ended, and keeps counts from falling below 0.
   * @param {string} key
   */
  async decrement(key) {
    const id = this.prefix + key;
    for (let entry = this.#store.entry(id); entry?.value > 0; entry = this.#store.entry(id)) {
      const { value, revision } = /** @type {{ value: number, revision: number }} */ (entry);
      const { ok } = await this.#store.set(id, value - 1, { keepTtl: true, ifRevision: revision });
      if (ok) return;
    }
  }

  /** @param {string} key */
  async resetKey(key) {
    await this.#store.delete(this.prefix + key);
  }

  async resetAll() {
    await this.#store.clear({ prefix: this.prefix });
  }
}

/**
 * The end of a window; now if the window no longer exists.
 * @param {{ expiresAt: number | undefined } | undefined} entry
 */
function dateOf(entry) {
  return new realGlobal.Date(entry?.expiresAt ?? wallClock());
}

module.exports = { RateLimitStore };
