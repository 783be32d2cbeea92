'use strict';

// A store that each process has for itself and loads by itself: source: { load, polling }. See
// types/shared.d.ts.

const {
  Buffer,
  JSON,
  LONGEST_DELAY,
  Map,
  Math,
  Object,
  Promise,
  Set,
  clearTimeout,
  process,
  setTimeout,
  wallClock,
} = require('../../globals');
const { Listened } = require('../changes');
const { failure, invalidType } = require('../errors');
const { describe } = require('../../text');
const { members } = require('../members');
const { checkKey } = require('../options');
const { KIND, decode, isSame } = require('../values');
const { loadAgainAndAgain } = require('./loop');

/**
 * @typedef {import('./plan').Plan} Plan
 * @typedef {import('./items').Items} Items
 */

class PolledStore extends Listened {
  #name;

  /** @type {Map<string, { value: [number, unknown], revision: number }>} */
  #entries = new Map();

  #revision = 0;

  #status = {
    loadedAt: /** @type {number | undefined} */ (undefined),
    loads: 0,
    failures: 0,
    failedAt: /** @type {number | undefined} */ (undefined),
    error: /** @type {unknown} */ (undefined),
  };

  /** The resolvers of `ready`. @type {(() => void)[]} */
  #waiting = [];

  /** The callbacks of the running listeners, by event. @type {Map<string, Set<(...args: any[]) => void>>} */
  #tells = new Map(['change', 'load', 'loadError'].map((name) => [name, new Set()]));

  /**
   * @param {string} name
   * @param {Plan} plan
   */
  constructor(name, plan) {
    const refuse = () => {
      throw failure('ERR_RCLUSTER_SHARED', `The store ${JSON.stringify(name)} has no backend`);
    };
    super({
      change: (emit) => this.#tell('change', emit),
      load: (emit) => this.#tell('load', emit),
      loadError: (emit) => this.#tell('loadError', emit),
      connect: refuse,
      disconnect: refuse,
      resync: refuse,
    });
    this.#name = name;
    const sink = {
      adopt: (/** @type {Items} */ items) => this.#adopt(items),
      onLoaded: () => this.#onLoaded(),
      onFailed: (/** @type {unknown} */ error) => this.#onFailed(error),
    };
    const { signal } = new AbortController();
    const load = /** @type {NonNullable<Plan['load']>} */ (plan.load);
    void loadAgainAndAgain({ plan, load, sink, signal, delay: 0 });
  }

  /** @param {string} key */
  get(key) {
    return this.entry(key)?.value;
  }

  /** @param {string} key */
  has(key) {
    if (typeof key !== 'string') throw invalidType('key', 'string', key);
    return this.#entries.has(key);
  }

  /** @param {string} key */
  entry(key) {
    if (!this.has(key)) return undefined;
    const { value, revision } = /** @type {any} */ (this.#entries.get(key));
    return { value: copyOf(value), revision, expiresAt: undefined };
  }

  get size() {
    return this.#entries.size;
  }

  get revision() {
    return this.#revision;
  }

  /** @param {{ prefix?: string }} [options] */
  keys(options) {
    const { prefix = '' } = members(options, ['prefix']);
    checkKey(prefix, 'prefix');
    const keys = [...this.#entries.keys()].filter((key) => key.startsWith(prefix));
    return Object.assign(keys.sort(byBytes), { revision: this.#revision });
  }

  /** @param {{ prefix?: string }} [options] */
  entries(options) {
    const keys = this.keys(options);
    return Object.assign(
      keys.map((key) => [key, this.get(key)]),
      { revision: keys.revision },
    );
  }

  stats() {
    const { loadedAt } = this.#status;
    const age = loadedAt === undefined ? undefined : Math.max(0, wallClock() - loadedAt);
    return {
      keys: this.size,
      revision: this.#revision,
      source: { ...this.#status, age, here: true },
    };
  }

  /** Resolves when the first load has succeeded. */
  get ready() {
    if (this.#status.loadedAt !== undefined) return Promise.resolve();
    // The timer keeps the process alive, which a promise does not.
    const timer = setTimeout(() => {}, LONGEST_DELAY);
    return new Promise((/** @type {(value: void) => void} */ resolve) => {
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /**
   * @param {string} name
   * @param {(...args: any[]) => void} emit
   */
  #tell(name, emit) {
    const tells = /** @type {Set<(...args: any[]) => void>} */ (this.#tells.get(name));
    tells.add(emit);
    return () => void tells.delete(emit);
  }

  /**
   * @param {string} name
   * @param {unknown} event
   */
  #emit(name, event) {
    for (const emit of /** @type {Set<(...args: any[]) => void>} */ (this.#tells.get(name))) emit(event);
  }

  /** @param {Items} items */
  #adopt(items) {
    /** @type {{ type: string, key: string, value?: [number, unknown] }[]} */
    const changes = [];
    for (const key of this.#entries.keys()) if (!items.has(key)) changes.push({ type: 'delete', key });
    for (const [key, value] of items) {
      const before = this.#entries.get(key)?.value;
      if (before === undefined || !isSame(value, before)) changes.push({ type: 'set', key, value });
    }
    if (changes.length === 0) return 0;
    this.#revision += 1;
    const revision = this.#revision;
    for (const { key, value } of changes) {
      if (value === undefined) this.#entries.delete(key);
      else this.#entries.set(key, { value, revision });
    }
    for (const { type, key, value } of changes) {
      const event = { type, key, revision };
      this.#emit('change', value === undefined ? event : { ...event, value: copyOf(value) });
    }
    return changes.length;
  }

  #onLoaded() {
    const { loads } = this.#status;
    const loadedAt = wallClock();
    this.#status = { loadedAt, loads: loads + 1, failures: 0, failedAt: undefined, error: undefined };
    this.#emit('load', { revision: this.#revision, loadedAt });
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** @param {unknown} error */
  #onFailed(error) {
    const failures = this.#status.failures + 1;
    this.#status = { ...this.#status, failures, failedAt: wallClock(), error };
    this.#emit('loadError', error);
    if (failures > 1) return;
    const message = `The polled store ${JSON.stringify(this.#name)} could not be loaded from its source, and is retried: ${describe(error)}`;
    process.emitWarning(message, { code: 'RCLUSTER_SHARED_SOURCE' });
  }
}

// Defined so that calling them gives an error that explains why they are not available.
for (const name of [
  'atomic',
  'clear',
  'delete',
  'getOrCreate',
  'increment',
  'read',
  'set',
  'tally',
  'touch',
  'watch',
]) {
  const refuse = () => {
    const message = `A store with polling has what load() returns, in each process for itself: it has no ${name}()`;
    throw failure('ERR_RCLUSTER_POLLED', message);
  };
  Object.defineProperty(PolledStore.prototype, name, { value: refuse, configurable: true, writable: true });
}

/**
 * A copy, so that callers do not see each other's changes.
 * @param {[number, any]} value as encoded
 */
function copyOf([kind, raw]) {
  if (raw === undefined) return kind === KIND.NULL ? null : kind === KIND.TRUE;
  return kind === KIND.BUFFER ? Buffer.from(raw) : decode(kind, raw);
}

/**
 * @param {string} one
 * @param {string} other
 */
function byBytes(one, other) {
  return /** @type {any} */ (Buffer.from(one)).compare(Buffer.from(other));
}

module.exports = { PolledStore };
