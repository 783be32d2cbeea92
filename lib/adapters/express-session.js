'use strict';

// Sessions of express-session in a shared store. See types/express-session.d.ts.

const { Boolean, JSON, Object, WeakSet, realGlobal, wallClock } = require('../globals');
const { members } = require('../shared/members');
const { lifetime } = require('../shared/options');
const { answer, checkPrefix, openStore, peer } = require('./common');

const session = peer('express-session', () => require('express-session'));

/** The lifetime in ms of a session whose cookie has no expiry: a day. */
const TTL = 86_400_000;

/**
 * @typedef {import('express-session').SessionData} SessionData
 * @typedef {(error?: any) => void} Done
 */

class SessionStore extends session.Store {
  /** @type {import('../../index').SharedStore} */
  #store;

  /** @type {string} */
  #prefix;

  /** @type {number} */
  #ttl;

  /**
   * The sessions of requests that have been in the store. If such a session is missing, it was destroyed or
   * has expired, so it is not saved again. A new session is saved.
   * @type {WeakSet<object>}
   */
  #known = new WeakSet();

  /** @param {import('./types/express-session').SessionStoreOptions} [options] */
  constructor(options) {
    super();
    const { store, prefix = '', ttl = TTL } = members(options, ['store', 'prefix', 'ttl']);
    this.#prefix = checkPrefix(prefix);
    lifetime(ttl);
    this.#ttl = ttl;
    this.#store = openStore(store, 'express-session');
  }

  /**
   * @param {any} request
   * @param {any} data
   */
  createSession(request, data) {
    const created = super.createSession(request, data);
    this.#known.add(created);
    return created;
  }

  /**
   * @param {string} sid
   * @param {(error: any, session?: SessionData | null) => void} callback
   */
  get(sid, callback) {
    const read = async () => this.#read(this.#prefix + sid) ?? null;
    return /** @type {any} */ (answer(read(), callback));
  }

  /**
   * @param {string} sid
   * @param {SessionData} data
   * @param {Done} [callback]
   */
  set(sid, data, callback) {
    return /** @type {any} */ (answer(this.#save(this.#prefix + sid, data), callback));
  }

  /**
   * @param {string} sid
   * @param {SessionData} data
   * @param {Done} [callback]
   */
  touch(sid, data, callback) {
    return /** @type {any} */ (answer(this.#touch(this.#prefix + sid, data), callback));
  }

  /**
   * @param {string} sid
   * @param {Done} [callback]
   */
  destroy(sid, callback) {
    const destroy = async () => void (await this.#store.delete(this.#prefix + sid));
    return /** @type {any} */ (answer(destroy(), callback));
  }

  /** @param {(error: any, sessions?: Record<string, SessionData>) => void} callback */
  all(callback) {
    const all = async () => {
      /** @type {Record<string, SessionData>} */
      const sessions = Object.create(null);
      for (const key of this.#store.keys({ prefix: this.#prefix })) {
        const data = this.#read(key);
        if (data !== undefined) sessions[key.slice(this.#prefix.length)] = data;
      }
      return sessions;
    };
    return /** @type {any} */ (answer(all(), callback));
  }

  /** @param {(error: any, length?: number) => void} callback */
  length(callback) {
    const count = async () => this.#store.keys({ prefix: this.#prefix }).length;
    return /** @type {any} */ (answer(count(), callback));
  }

  /** @param {Done} [callback] */
  clear(callback) {
    const clear = async () => void (await this.#store.clear({ prefix: this.#prefix }));
    return /** @type {any} */ (answer(clear(), callback));
  }

  /**
   * @param {string} key
   * @returns {SessionData | undefined}
   */
  #read(key) {
    const entry = this.#store.entry(key);
    if (entry === undefined) return undefined;
    const data = JSON.parse(entry.value);
    // touch() changes the expiry of the entry, not the stored cookie.
    if (data.cookie?.expires && entry.expiresAt !== undefined) {
      data.cookie.expires = new realGlobal.Date(entry.expiresAt).toISOString();
    }
    return data;
  }

  /**
   * @param {string} key
   * @param {SessionData} data
   */
  async #save(key, data) {
    const ttl = this.#lifetime(data);
    if (ttl <= 0) {
      await this.#store.delete(key);
      return;
    }
    const text = JSON.stringify(data);
    if (!this.#known.has(data)) {
      await this.#store.set(key, text, { ttl });
      // From now on it is only updated, unless the caller manages sessions itself.
      if (data instanceof session.Session) this.#known.add(data);
      return;
    }
    // The batch fails if there is nothing to delete, so a destroyed session is not recreated.
    await this.#store.atomic().delete(key).set(key, text, { ttl }).commit();
  }

  /**
   * Saves the cookie, and nothing else of the session: another request may have saved that in the meantime.
   * @param {string} key
   * @param {SessionData} data
   */
  async #touch(key, { cookie }) {
    const ttl = this.#lifetime({ cookie });
    if (ttl <= 0) {
      await this.#store.delete(key);
      return;
    }
    const { cookie: wanted } = JSON.parse(JSON.stringify({ cookie }));
    for (;;) {
      const entry = this.#store.entry(key);
      // It was destroyed or has expired.
      if (entry === undefined) return;
      const saved = JSON.parse(entry.value);
      // A new expiry is not worth a copy of the session: the entry has it.
      if (withoutTime(saved.cookie) === withoutTime(wanted)) {
        await this.#store.touch(key, ttl);
        return;
      }
      const text = JSON.stringify({ ...saved, cookie });
      const { ok } = await this.#store.set(key, text, { ttl, ifRevision: entry.revision });
      if (ok) return;
    }
  }

  /**
   * @param {{ cookie: SessionData['cookie'] }} data
   * @returns {number} ms
   */
  #lifetime({ cookie }) {
    const expires = cookie?.expires;
    return expires ? new realGlobal.Date(expires).getTime() - wallClock() : this.#ttl;
  }
}

/**
 * What a cookie says apart from the time of its expiry, to be compared.
 * @param {any} cookie as it is stored
 */
function withoutTime(cookie) {
  return JSON.stringify(cookie && { ...cookie, expires: Boolean(cookie.expires) });
}

module.exports = { SessionStore };
