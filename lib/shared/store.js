'use strict';

const { JSON, Object, Promise, Set, setImmediate, wallClock } = require('../globals');
const { failure, invalidType, sharedError } = require('./errors');
const { checkKey, members } = require('./options');
const { decode, made } = require('./values');
const { Batch } = require('./batch');
const steps = require('./steps');
const { createWatch } = require('./watch');

/** How many answers are taken at once. */
const ANSWERS = 256;

/** How many answers may be taken before it is the event loop's turn. */
const DIRECT = 128;

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

  /** @type {ReturnType<NativeStore['adder']>} */
  #add;

  /** @type {ReturnType<NativeStore['submitter']>} */
  #submit;

  /** @type {ReturnType<NativeStore['taker']>} */
  #take;

  /** @type {ReturnType<NativeStore['rest']>} */
  #rest;

  #closed = false;

  /** @type {Waiting[]} in the order of the requests; those before `#first` have been settled */
  #waiting = [];

  #first = 0;

  /** Whether `#collectSoon()` is about to take the answers. */
  #collecting = false;

  /** How many answers were taken since the event loop had its turn. */
  #direct = 0;

  /** Whether the process is kept alive. */
  #held = false;

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
    this.#add = this.#native.adder();
    this.#submit = this.#native.submitter();
    this.#take = this.#native.taker();
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
  set(key, value, options) {
    return this.#ask(() => steps.set(key, value, options), written);
  }

  /**
   * @param {string} key
   * @param {object} [options]
   */
  delete(key, options) {
    return this.#ask(() => steps.remove(key, options), written);
  }

  /**
   * @param {string} key
   * @param {number} ttl
   */
  touch(key, ttl) {
    return this.#ask(() => steps.touch(key, ttl), written);
  }

  /**
   * @param {string} key
   * @param {number} [by]
   * @param {object} [options]
   */
  increment(key, by = 1, options) {
    return this.#ask(() => steps.increment(key, by, options), counted);
  }

  /** @param {{ prefix?: string }} [options] */
  clear(options) {
    return this.#ask(() => steps.clear(options), counted);
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
   * Writes one step. An async function would do the same with three promises.
   * @param {() => Step} make what it throws rejects
   * @param {(answer: Answer) => any} result
   * @returns {Promise<any>}
   */
  #ask(make, result) {
    try {
      return this.#write([make()], result);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * @param {Step[]} request
   * @param {(answer: Answer) => any} result
   * @returns {Promise<any>}
   */
  #write(request, result) {
    if (this.#closed) throw gone();
    steps.send(this.#native, this.#add, this.#submit, request);
    if (!this.#collecting) void this.#collectSoon();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, result, key: request[0].key });
    });
  }

  /**
   * Takes the answers to all that is written in this turn of the promises, where the writer is quick enough, without the
   * detour by the event loop. That has its turn, too: after some answers it comes first.
   */
  async #collectSoon() {
    this.#collecting = true;
    await undefined;
    if (this.#direct < DIRECT) {
      this.#collecting = false;
      this.#direct += this.#collect(true);
      this.#look();
      this.#holdLoop(this.#first < this.#waiting.length);
    } else {
      // It holds the loop by itself.
      setImmediate(() => {
        this.#collecting = false;
        this.#direct = 0;
        this.#collect(false);
        this.#look();
        this.#holdLoop(this.#first < this.#waiting.length);
      });
    }
  }

  /**
   * Takes the answers that are there. The native side calls `#onNews()` when there are more.
   * @param {boolean} wait for a moment, if they are about to come
   * @returns {number} how many there were
   */
  #collect(wait) {
    const answers = this.#answers;
    let all = 0;
    let count;
    do {
      count = this.#take(answers, wait);
      for (let at = 0; at < 3 * count; at += 3) {
        this.#settle({ status: answers[at], revision: answers[at + 1], number: answers[at + 2] });
      }
      all += count;
    } while (count === ANSWERS);
    return all;
  }

  /**
   * Whether what is not answered yet keeps the process alive.
   * @param {boolean} hold
   */
  #holdLoop(hold) {
    if (this.#held === hold) return;
    this.#held = hold;
    this.#native.hold(hold);
  }

  #onNews() {
    this.#direct = 0;
    this.#collect(false);
    this.#holdLoop(this.#first < this.#waiting.length);
    this.#look();
  }

  /** Something may have changed. */
  #look() {
    for (const look of this.#watchers) look();
  }

  /** @param {Answer} answer */
  #settle(answer) {
    const { resolve, reject, result, key } = this.#waiting[this.#first];
    this.#first += 1;
    if (this.#first === this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
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
    this.#holdLoop(false);
    for (const { reject } of this.#waiting.splice(0).slice(this.#first)) reject(gone());
    this.#first = 0;
    this.#look();
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
