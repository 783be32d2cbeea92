'use strict';

// The events of a store. All listeners of 'change' share one watch: it begins with the first listener and
// ends with the last.

const { EventEmitter } = require('node:events');
const { Object, nextTick } = require('../globals');
const { inRootContext } = require('../root-context');
const { invalidType, invalidValue } = require('./errors');

/** The events. 'error' is listed because events.once() listens to it; it is never emitted. */
const NAMES = [
  'change',
  'load',
  'loadError',
  'connect',
  'disconnect',
  'resync',
  'error',
  'newListener',
  'removeListener',
];

/**
 * Starts to report an event, and returns the function that stops it.
 * @typedef {(emit: (...args: any[]) => void) => () => void} Origin
 */

class Changes {
  #emitter = new EventEmitter();

  /** @type {Record<string, Origin>} */
  #origins;

  /** The function that stops each running origin. @type {Record<string, () => void>} */
  #running = /** @type {any} */ ({ __proto__: null });

  /** @param {Record<string, Origin>} origins by the names of the events */
  constructor(origins) {
    this.#origins = origins;
  }

  /**
   * @param {'on' | 'once' | 'prependListener' | 'prependOnceListener'} how
   * @param {string} name
   * @param {(...args: any[]) => void} listener
   */
  add(how, name, listener) {
    if (!NAMES.includes(name)) {
      const known = "must be 'change', 'load', 'loadError', 'connect', 'disconnect' or 'resync'";
      throw invalidValue('event', known, name);
    }
    if (typeof listener !== 'function') throw invalidType('listener', 'function', listener);
    // First: if this fails, no listener is added.
    this.#begin(name);
    this.#emitter[how](name, listener);
  }

  /**
   * @param {string} name
   * @param {(...args: any[]) => void} listener
   */
  remove(name, listener) {
    this.#emitter.removeListener(name, listener);
    this.#endUnused(name);
  }

  /** @param {string} name */
  count(name) {
    return this.#emitter.listenerCount(name);
  }

  /** @param {number} limit */
  setMaxListeners(limit) {
    this.#emitter.setMaxListeners(limit);
  }

  /** @param {string} name */
  #begin(name) {
    if (name in this.#running || !Object.keys(this.#origins).includes(name)) return;
    // As with emitters of Node that serve many, the listeners do not run in the context of the first one.
    const emit = (/** @type {any[]} */ ...args) => inRootContext(nextTick, () => this.#emit(name, args));
    this.#running[name] = this.#origins[name](emit);
  }

  /**
   * Each event has a tick of its own, so that an exception from a listener is uncaught and does not prevent
   * other events.
   * @param {string} name
   * @param {any[]} args
   */
  #emit(name, args) {
    try {
      this.#emitter.emit(name, ...args);
    } finally {
      this.#endUnused(name);
    }
  }

  /** @param {string} name */
  #endUnused(name) {
    if (this.#emitter.listenerCount(name) > 0 || !(name in this.#running)) return;
    const end = this.#running[name];
    delete this.#running[name];
    end();
  }
}

/** A store with events. */
class Listened {
  #changes;

  /** @param {Record<string, Origin>} origins by the names of the events */
  constructor(origins) {
    this.#changes = new Changes(origins);
  }

  /**
   * @param {string} name
   * @param {(...args: any[]) => void} listener
   */
  on(name, listener) {
    this.#changes.add('on', name, listener);
    return this;
  }

  /**
   * @param {string} name
   * @param {(...args: any[]) => void} listener
   */
  once(name, listener) {
    this.#changes.add('once', name, listener);
    return this;
  }

  /**
   * @param {string} name
   * @param {(...args: any[]) => void} listener
   */
  off(name, listener) {
    this.#changes.remove(name, listener);
    return this;
  }

  /**
   * @param {string} name
   * @param {(...args: any[]) => void} listener
   */
  addListener(name, listener) {
    return this.on(name, listener);
  }

  /**
   * @param {string} name
   * @param {(...args: any[]) => void} listener
   */
  removeListener(name, listener) {
    return this.off(name, listener);
  }

  /** @param {string} name */
  listenerCount(name) {
    return this.#changes.count(name);
  }

  /** @param {number} limit */
  setMaxListeners(limit) {
    this.#changes.setMaxListeners(limit);
    return this;
  }
}

/**
 * Emits the events of a watch until it is ended.
 * @param {AsyncIterableIterator<any>} watch
 * @param {(event: any) => void} emit
 * @returns {() => void}
 */
function follow(watch, emit) {
  let isFirst = true;
  const run = async () => {
    for await (const event of watch) {
      // The first event is 'synced': the listener already knows what there was. After a 'resync' it is news.
      if (!isFirst || event.type !== 'synced') emit(event);
      isFirst = false;
    }
  };
  // The watch fails when the primary is gone, which the store's onEnd() reports.
  void run().catch((error) => {
    if (error.code !== 'ERR_RCLUSTER_GONE') inRootContext(nextTick, () => throwIt(error));
  });
  return () => void watch.return?.();
}

/** @param {unknown} error */
function throwIt(error) {
  throw error;
}

module.exports = { Listened, follow };
