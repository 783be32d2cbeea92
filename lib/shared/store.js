'use strict';

const { JSON, Object, Promise, Set, wallClock } = require('../globals');
const { failure, invalidType, sharedError } = require('./errors');
const { members } = require('./members');
const { checkKey } = require('./options');
const { KIND, decode, isSame, made } = require('./values');
const { Batch } = require('./batch');
const { Listened, follow } = require('./changes');
const { Requests } = require('./requests');
const steps = require('./steps');
const { createWatch } = require('./watch');

/**
 * @typedef {import('../../binding').SharedStore} NativeStore
 * @typedef {import('./steps').Step} Step
 * @typedef {import('./requests').Answer} Answer
 */

/** The field with the state of the server; 0 if the store has none. See ./server.js. */
const STATE = 9;

/** @param {Answer} answer */
const written = ({ status, revision }) => ({ ok: status === 0, revision });

/** @param {Answer} answer */
const counted = ({ number }) => number;

/** A store that all processes of the cluster share. See types/shared.d.ts. */
class SharedStore extends Listened {
  /** @type {NativeStore} */
  #native;

  /** @type {ReturnType<NativeStore['reader']>} */
  #get;

  /** @type {ReturnType<NativeStore['finder']>} */
  #has;

  /** The kind of the value that #get has returned. */
  #kind = new Float64Array(1);

  /** @type {InstanceType<typeof Requests>} */
  #requests;

  /** @type {Set<() => void>} called when the store may have changed, or has ended */
  #watchers = new Set();

  /** @type {() => void} */
  #onLost;

  /** @type {string} */
  #name;

  /** @type {InstanceType<typeof import('./source/service').Service> | undefined} */
  #source;

  /** @type {(() => { at: number, revision: number, error?: string } | null) | undefined} */
  #saved;

  /** @type {InstanceType<typeof import('./tally').Tallies> | undefined} */
  #tallies;

  /**
   * @param {(onNews: () => void, onEnd: () => void) => NativeStore} open
   * @param {() => void} onLost called when the store has been lost
   * @param {string} name
   */
  constructor(open, onLost, name) {
    super({
      change: (emit) => follow(this.watch({ since: this.revision }), emit),
      load: (emit) => this.#followLoads('load', emit),
      loadError: (emit) => this.#followLoads('loadError', emit),
      connect: (emit) => this.#followServer('connect', emit),
      disconnect: (emit) => this.#followServer('disconnect', emit),
      resync: (emit) => this.#followServer('resync', emit),
    });
    this.#name = name;
    this.#onLost = onLost;
    this.#native = open(
      () => this.#requests.onNews(),
      () => this.#onEnd(),
    );
    this.#get = this.#native.reader(this.#kind);
    this.#has = this.#native.finder();
    const look = () => {
      for (const watcher of this.#watchers) watcher();
    };
    this.#requests = new Requests(this.#native, look, name);
  }

  /** Closes a store that was opened only to compare its options. */
  release() {
    this.#requests.close();
  }

  /**
   * Makes this process one of those that may load the contents of the store.
   * @param {import('./source/plan').Plan} plan
   */
  attach(plan) {
    if (this.#source !== undefined) return;
    const { Service } = require('./source/service');
    this.#source = new Service(this.#name, plan, {
      keys: () => this.keys(),
      isSame: (key, value) =>
        this.has(key) &&
        isSame(value, [this.#native.kind(), this.#native.value()]) &&
        this.#native.times()[1] === Infinity,
      write: (batch) => this.#requests.write(batch, written),
      revision: () => this.revision,
      maxValue: () => this.#native.field(6),
      hold: () => this.#requests.hold(),
    });
  }

  /** @param {() => { at: number, revision: number, error?: string } | null} saved returns the result of the last save */
  keptBy(saved) {
    this.#saved = saved;
  }

  /** Resolves when the contents have been loaded for the first time. */
  get ready() {
    const loaded = this.#source?.ready() ?? Promise.resolve();
    if (this.#native.field(STATE) === 0) return loaded;
    const { ready } = require('./server');
    return Promise.all([ready(this.#native, this.#watchers, this.#requests), loaded]).then(() => {});
  }

  /** @param {string} key */
  get(key) {
    if (typeof key !== 'string') throw invalidType('key', 'string', key);
    const value = this.#get(key);
    return this.#kind[0] < KIND.JSON ? value : made(value);
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

  /**
   * The current value on the server; get() may be behind it.
   * @param {string} key
   */
  async read(key) {
    checkKey(key);
    await this.#ask(() => steps.check(key), written);
    return this.get(key);
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
      source: this.#source?.stats(),
      saved: this.#saved?.() ?? undefined,
      backend: field(STATE) === 0 ? undefined : require('./server').stats(this.#native),
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

  /** @param {string} name */
  tally(name) {
    if (this.#tallies === undefined) {
      const { Tallies } = require('./tally');
      this.#tallies = new Tallies(this.#name);
    }
    return this.#tallies.get(name);
  }

  atomic() {
    return new Batch(async (batch) => {
      if (batch.length === 0) return { ok: true, revision: this.revision };
      return this.#requests.write(batch, written);
    });
  }

  /** @param {object} [options] */
  watch(options) {
    return createWatch(this.#native, this.#watchers, () => this.#requests.closed, options);
  }

  /**
   * @param {'load' | 'loadError'} name
   * @param {(argument: any) => void} emit
   */
  #followLoads(name, emit) {
    if (this.#source === undefined) {
      const text = JSON.stringify(this.#name);
      throw failure('ERR_RCLUSTER_SHARED', `This process has not opened the store ${text} with a source`);
    }
    const { eventOf } = require('./source/service');
    return this.#source.follow((status) => {
      const [event, argument] = eventOf(status);
      if (event === name) emit(argument);
    });
  }

  /**
   * @param {'connect' | 'disconnect' | 'resync'} name
   * @param {(argument: any) => void} emit
   */
  #followServer(name, emit) {
    return require('./server').follow(this.#name, this.#native, this.#watchers, name, emit);
  }

  /** @param {() => Step} make @param {(answer: Answer) => any} result */
  #ask(make, result) {
    return this.#requests.ask(make, result);
  }

  #onEnd() {
    this.#requests.onEnd();
    this.#onLost();
  }
}

module.exports = { SharedStore };
