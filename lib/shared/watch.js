'use strict';

const { Promise, Symbol, setImmediate } = require('../globals');
const { failure, invalidType, invalidValue, sharedError } = require('./errors');
const { members } = require('./members');
const { checkKey, checkRevision } = require('./options');
const { decode } = require('./values');

/** The event types, by the numbers of the native side. */
const NAMES = [undefined, 'set', 'delete', 'expire', 'evict', 'clear', 'synced'];
const IDLE = 0;
const SET = 1;
const SYNCED = 6;
const COMPACTED = 7;
const MORE = 8;

/**
 * @typedef {import('../../binding').SharedStore} NativeStore
 * @typedef {import('../../binding').SharedWatch} NativeWatch
 */

/**
 * Starts a watch: an async iterator of changes.
 *
 * @param {NativeStore} native
 * @param {Set<() => void>} watchers
 * @param {() => boolean} isClosed
 * @param {unknown} options
 */
function createWatch(native, watchers, isClosed, options) {
  const { key, prefix, since, history, signal } = members(options, [
    'key',
    'prefix',
    'since',
    'history',
    'signal',
  ]);
  if (key !== undefined) checkKey(key);
  if (prefix !== undefined) checkKey(prefix, 'prefix');
  if (key !== undefined && prefix !== undefined) {
    throw invalidValue('options.prefix', 'cannot be given together with key', prefix);
  }
  if (history !== undefined && typeof history !== 'boolean') {
    throw invalidType('options.history', 'boolean', history);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidType('options.signal', 'AbortSignal', signal);
  }
  const from = since === undefined ? -1 : checkRevision(since, 'since');
  return new Watch(native, watchers, isClosed, {
    text: key ?? prefix ?? '',
    isPrefix: key === undefined,
    from,
    history,
    signal,
  });
}

/** An async iterator of changes. Events that have not been requested stay in the store's own log. */
class Watch {
  #native;
  #watchers;
  #isClosed;
  #options;

  /** @type {NativeWatch | null} null if the history does not go back to where it should begin */
  #cursor = null;

  #done = false;

  /** Whether it is notified of changes. */
  #follows = false;

  /** Whether it goes on reading in the next turn of the event loop. */
  #pauses = false;

  /** @type {{ resolve: (result: IteratorResult<any>) => void, reject: (error: unknown) => void }[]} */
  #waiting = [];

  #look = () => this.#deliver();

  /**
   * @param {NativeStore} native
   * @param {Set<() => void>} watchers
   * @param {() => boolean} isClosed
   * @param {{ text: string, isPrefix: boolean, from: number, history?: boolean, signal?: AbortSignal }} options
   */
  constructor(native, watchers, isClosed, options) {
    this.#native = native;
    this.#watchers = watchers;
    this.#isClosed = isClosed;
    this.#options = options;
    this.#cursor = this.#begin(options.from);
  }

  /** @param {number} from */
  #begin(from) {
    const { text, isPrefix, history = false } = this.#options;
    try {
      return this.#native.watch(text, isPrefix, from, history);
    } catch (error) {
      throw sharedError(/** @type {Error} */ (error));
    }
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** @returns {Promise<IteratorResult<any>>} */
  next() {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#deliver();
    });
  }

  async return() {
    this.#done = true;
    this.#deliver();
    return { done: true, value: undefined };
  }

  /** Resolves pending calls of next() with the available events. */
  #deliver() {
    this.#resolve();
    this.#follow(this.#waiting.length > 0);
  }

  /**
   * Subscribes to changes and to the abort, only while a call of next() waits. So a watch that was abandoned
   * without return() costs nothing.
   * @param {boolean} follows
   */
  #follow(follows) {
    if (this.#follows === follows) return;
    this.#follows = follows;
    const { signal } = this.#options;
    if (follows) {
      this.#watchers.add(this.#look);
      signal?.addEventListener('abort', this.#look);
    } else {
      this.#watchers.delete(this.#look);
      signal?.removeEventListener('abort', this.#look);
    }
  }

  #resolve() {
    while (this.#waiting.length > 0) {
      /** @type {any} */
      let event;
      try {
        event = this.#done ? undefined : this.#event();
      } catch (error) {
        this.#done = true;
        /** @type {any} */ (this.#waiting.shift()).reject(error);
        continue;
      }
      if (event === undefined && !this.#done) return;
      const result = event === undefined ? { done: true, value: undefined } : { done: false, value: event };
      /** @type {any} */ (this.#waiting.shift()).resolve(result);
    }
  }

  /** The next event; undefined if there is none yet. */
  #event() {
    const { signal, history } = this.#options;
    if (signal?.aborted) throw signal.reason;
    if (this.#cursor === null) return this.#compacted();
    if (this.#pauses) return undefined;
    const cursor = this.#cursor;
    const what = cursor.next();
    if (what === MORE) {
      this.#pause();
      return undefined;
    }
    if (what === IDLE) {
      if (!this.#isClosed()) return undefined;
      throw failure('ERR_RCLUSTER_GONE', 'The primary of this process is gone: no change will come');
    }
    if (what === COMPACTED) {
      if (history) throw compacted();
      return this.#compacted();
    }
    const [revision] = cursor.times();
    if (what === SYNCED) return { type: 'synced', revision };
    if (what === SET) {
      return { type: 'set', key: cursor.key(), value: decode(cursor.kind(), cursor.value()), revision };
    }
    const type = NAMES[what];
    return type === 'clear'
      ? { type, prefix: cursor.key(), revision }
      : { type, key: cursor.key(), revision };
  }

  /**
   * A long part of the log without an event for this watch is passed in pieces, and other work of this process
   * gets its turn in between.
   */
  #pause() {
    this.#pauses = true;
    setImmediate(() => {
      this.#pauses = false;
      this.#deliver();
    });
  }

  /** Some changes have been dropped from the log, so the watch starts over with the current state. */
  #compacted() {
    if (this.#options.history) throw compacted();
    this.#cursor = this.#begin(-1);
    return { type: 'resync', revision: this.#native.field(0) };
  }
}

function compacted() {
  return failure(
    'ERR_RCLUSTER_COMPACTED',
    'The changes that come next are no longer in the history of the store',
  );
}

module.exports = { createWatch };
