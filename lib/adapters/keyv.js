'use strict';

// A storage adapter of Keyv on a shared store. See types/keyv.d.ts.

const { EventEmitter } = require('node:events');
const { Promise } = require('../globals');
const { invalidValue } = require('../errors');
const { members } = require('../shared/members');
const { openStore } = require('./common');

/** Separates the namespace and the key. A namespace cannot contain it. */
const END = '\0';

class KeyvShared extends EventEmitter {
  /** Keyv 5 iterates only over stores of dialects that it knows. */
  opts = { dialect: 'redis', url: '' };

  /** @type {import('../../index').SharedStore} */
  #store;

  /** @type {string | undefined} */
  #namespace;

  /** @param {import('./types/keyv').KeyvSharedOptions} [options] */
  constructor(options) {
    super();
    const { store, namespace } = members(options, ['store', 'namespace']);
    this.namespace = namespace;
    this.#store = openStore(store, 'keyv');
  }

  get namespace() {
    return this.#namespace;
  }

  /** Set by Keyv. */
  set namespace(namespace) {
    if (namespace?.includes(END)) throw invalidValue('A namespace of Keyv cannot contain "\\0"');
    this.#namespace = namespace;
  }

  /** @param {string} key */
  async get(key) {
    return this.#store.get(this.#id(key));
  }

  /** @param {string[]} keys */
  async getMany(keys) {
    return keys.map((key) => this.#store.get(this.#id(key)));
  }

  /** @param {string} key */
  async has(key) {
    return this.#store.has(this.#id(key));
  }

  /** @param {string[]} keys */
  async hasMany(keys) {
    return keys.map((key) => this.#store.has(this.#id(key)));
  }

  /**
   * @param {string} key
   * @param {any} value
   * @param {number} [ttl] in ms
   */
  async set(key, value, ttl) {
    // It has expired already.
    if (ttl !== undefined && ttl < 0) await this.#store.delete(this.#id(key));
    else await this.#store.set(this.#id(key), value, { ttl: ttl === 0 ? undefined : ttl });
    return true;
  }

  /** @param {{ key: string, value: any, ttl?: number }[]} entries */
  async setMany(entries) {
    return Promise.all(entries.map(({ key, value, ttl }) => this.set(key, value, ttl)));
  }

  /** @param {string} key */
  async delete(key) {
    const { ok } = await this.#store.delete(this.#id(key));
    return ok;
  }

  /**
   * @param {string[]} keys
   * @returns {Promise<boolean>} whether all of them were there
   */
  async deleteMany(keys) {
    const deleted = await Promise.all(keys.map((key) => this.delete(key)));
    return deleted.every((isDeleted) => isDeleted);
  }

  /** Deletes all keys in the namespace of this adapter. */
  async clear() {
    await this.#store.clear({ prefix: this.#id('') });
  }

  /**
   * Iterates over a snapshot taken at the start.
   * @param {string} [namespace]
   * @yields {[key: string, value: any]}
   */
  async *iterator(namespace = this.#namespace) {
    const prefix = (namespace ?? '') + END;
    for (const [id, value] of this.#store.entries({ prefix })) yield [id.slice(prefix.length), value];
  }

  /** @param {string} key */
  #id(key) {
    return (this.#namespace ?? '') + END + key;
  }
}

module.exports = { KeyvShared };
