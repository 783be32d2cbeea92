'use strict';

const { JSON, Object, Promise, Set, wallClock } = require('../globals');
const { failure, invalidType, sharedError } = require('./errors');
const { checkKey, members } = require('./options');
const { decode, made } = require('./values');
const { Batch } = require('./batch');
const steps = require('./steps');
const { createWatch } = require('./watch');

/** How many answers are taken at once. */
const ANSWERS = 256;

/**
 * @typedef {import('../../binding').SharedStore} NativeStore
 * @typedef {import('./steps').Step} Step
 *
 * How a request went.
 * @typedef {{ status: number, revision: number, number: number }} Answer
 * @typedef {{ resolve: (value: any) => void, reject: (error: Error) => void, result: (answer: Answer) => any, key: string }} Waiting
 */

/** @param {Answer} answer */
const written = ({ status, revision }) => ({ ok: status === 0, revision });

/** @param {Answer} answer */
const counted = ({ number }) => number;

/** A store that all processes of the cluster share. See types/shared.d.ts. */
class SharedStore {
  /** @type {NativeStore} */
  #native;

  /** @type {ReturnType<NativeStore['reader']>} */
  #get;

  /** @type {ReturnType<NativeStore['finder']>} */
  #has;

  /** @type {ReturnType<NativeStore['rest']>} */
  #rest;

  #closed = false;

  /** @type {Waiting[]} in the order of the requests; those before `#first` have been settled */
  #waiting = [];

  #first = 0;

  #answers = new Float64Array(3 * ANSWERS);

  /** @type {Set<() => void>} what wants to know that something may have changed, or that nothing will any more */
  #watchers = new Set();

  /** @type {() => void} */
  #onLost;

  /** @type {string} */
  #name;

  /**
   * @param {(onNews: () => void, onEnd: () => void) => NativeStore} open
   * @param {() => void} onLost called when the store has been lost
   * @param {string} name
   */
  constructor(open, onLost, name) {
    this.#name = name;
    this.#onLost = onLost;
    this.#native = open(
      () => this.#onNews(),
      () => this.#onEnd(),
    );
    this.#get = this.#native.reader();
    this.#has = this.#native.finder();
    this.#rest = this.#native.rest();
  }

  /** It was opened only to compare options. */
  release() {
    this.#closed = true;
    this.#native.stop();
  }

  /** @param {string} key */
  get(key) {
    if (typeof key !== 'string') throw invalidType('key', 'string', key);
    const value = this.#get(key);
    if (value !== undefined) return value;
    const rest = this.#rest();
    return rest === undefined ? undefined : made(rest);
  }

  /** @param {string} key */
  has(key) {
    if (typeof key !== 'string') throw invalidType('key', 'string', key);
    return this.#has(key);
  }

  /** @param {string} key */
  entry(key) {
    if (!this.has(key)) return undefined;
    const value = decode(this.#native.kind(), this.#native.value());
    const [revision, rest] = this.#native.times();
    return { value, revision, expiresAt: rest === Infinity ? undefined : wallClock() + rest };
  }

  get size() {
    return this.#native.field(1);
  }

  get revision() {
    return this.#native.field(0);
  }

  /** @param {{ prefix?: string }} [options] */
  keys(options) {
    return this.#list(options, false, (snapshot) => snapshot.key());
  }

  /** @param {{ prefix?: string }} [options] */
  entries(options) {
    return this.#list(options, true, (snapshot) => [
      snapshot.key(),
      decode(snapshot.kind(), snapshot.value()),
    ]);
  }

  /**
   * @param {{ prefix?: string } | undefined} options
   * @param {boolean} withValues
   * @param {(snapshot: import('../../binding').SharedSnapshot) => any} item
   */
  #list(options, withValues, item) {
    const { prefix = '' } = members(options, ['prefix']);
    checkKey(prefix, 'prefix');
    /** @type {any[]} */
    const all = [];
    try {
      const snapshot = this.#native.snapshot(prefix, withValues);
      while (snapshot.next()) all.push(item(snapshot));
      return Object.assign(all, { revision: snapshot.revision() });
    } catch (error) {
      throw sharedError(/** @type {Error} */ (error));
    }
  }

  stats() {
    const field = (/** @type {number} */ number) => this.#native.field(number);
    return {
      keys: field(1),
      revision: field(0),
      bytes: field(2),
      limit: field(7),
      memory: field(3),
      maxValue: field(6),
      evicted: field(4),
      expired: field(5),
    };
  }

  /**
   * @param {string} key
   * @param {unknown} value
   * @param {object} [options]
   */
  async set(key, value, options) {
    return this.#write([steps.set(key, value, options)], written);
  }

  /**
   * @param {string} key
   * @param {object} [options]
   */
  async delete(key, options) {
    return this.#write([steps.remove(key, options)], written);
  }

  /**
   * @param {string} key
   * @param {number} ttl
   */
  async touch(key, ttl) {
    return this.#write([steps.touch(key, ttl)], written);
  }

  /**
   * @param {string} key
   * @param {number} [by]
   * @param {object} [options]
   */
  async increment(key, by = 1, options) {
    return this.#write([steps.increment(key, by, options)], counted);
  }

  /** @param {{ prefix?: string }} [options] */
  async clear(options) {
    return this.#write([steps.clear(options)], counted);
  }

  /**
   * @param {string} key
   * @param {import('./flight').Loader} loader
   * @param {object} [options]
   * @returns {Promise<any>}
   */
  async getOrCreate(key, loader, options) {
    return require('./flight').getOrCreate(this, this.#name, key, loader, options);
  }

  atomic() {
    return new Batch(async (batch) => {
      if (batch.length === 0) return { ok: true, revision: this.revision };
      return this.#write(batch, written);
    });
  }

  /** @param {object} [options] */
  watch(options) {
    return createWatch(this.#native, this.#watchers, () => this.#closed, options);
  }

  /**
   * @param {Step[]} request
   * @param {(answer: Answer) => any} result
   * @returns {Promise<any>}
   */
  #write(request, result) {
    if (this.#closed) throw gone();
    steps.send(this.#native, request);
    if (this.#first === this.#waiting.length) this.#native.hold(true);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, result, key: request[0].key });
    });
  }

  #onNews() {
    const answers = this.#answers;
    let count;
    do {
      count = this.#native.answers(answers);
      for (let at = 0; at < 3 * count; at += 3) {
        this.#settle({ status: answers[at], revision: answers[at + 1], number: answers[at + 2] });
      }
    } while (count > 0);
    for (const look of this.#watchers) look();
  }

  /** @param {Answer} answer */
  #settle(answer) {
    const { resolve, reject, result, key } = this.#waiting[this.#first];
    this.#first += 1;
    if (this.#first === this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
      this.#native.hold(false);
    } else if (this.#first === 1024) {
      this.#waiting.splice(0, this.#first);
      this.#first = 0;
    }
    switch (answer.status) {
      case 0:
      case 1:
        return resolve(result(answer));
      case 2:
        return reject(failure('ERR_RCLUSTER_NOT_NUMBER', `The value of ${JSON.stringify(key)} is no number`));
      case 3:
        return reject(failure('ERR_RCLUSTER_FULL', 'The store is full: nothing has been written'));
      case 4:
        return reject(steps.tooLarge(this.#native, key));
      default:
        return reject(failure('ERR_RCLUSTER_SHARED', 'The store does not understand the request'));
    }
  }

  #onEnd() {
    // What has been answered before the end.
    this.#onNews();
    this.#closed = true;
    this.#native.stop();
    this.#native.hold(false);
    for (const { reject } of this.#waiting.splice(0).slice(this.#first)) reject(gone());
    this.#first = 0;
    for (const look of this.#watchers) look();
    this.#onLost();
  }
}

function gone() {
  return failure(
    'ERR_RCLUSTER_GONE',
    'The primary of this process is gone, and with it the store: it can only be read',
  );
}

module.exports = { SharedStore };
