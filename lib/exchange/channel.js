'use strict';

// cluster.BroadcastChannel: the interface and behaviour of Node's class, for all processes of a cluster. See
// index.d.ts.

const { JSON, Map, Object, Reflect, Set, Symbol, TypeError } = require('../globals');
const { use } = require('../extras');
const { AsyncResource } = require('node:async_hooks');
const { inspect } = require('node:util');
const { getEventListeners } = require('node:events');
const { checkName, checkScope } = require('../locks/check');
const { members } = require('../shared/members');
const { noBackend } = require('../shared/errors');

/** @typedef {import('./connection').Frame} Frame */

/** The channels that are open, by their scope and name. @type {Map<string, Set<BroadcastChannel>>} */
const channels = new Map();
let nextNumber = 1;

/** Loaded when the first channel is created. @type {typeof import('./connection') | undefined} */
let connection;

function connect() {
  if (connection !== undefined) return connection;
  const opened = /** @type {typeof import('./connection')} */ (use('exchange/connection'));
  connection = opened;
  const { KIND, onEnds, takers } = opened;
  takers[KIND.MESSAGE] = onMessage;
  takers[KIND.CHANNEL_LAG] = onLag;
  onEnds.push(() => channels.clear());
  return opened;
}

/** Bits of a frame's flag. The native side has the same numbers. */
const OWN = 1;
const COMMON = 2;

/**
 * @param {boolean} all whether the channel spans machines
 * @param {string} name
 */
function keyOf(all, name) {
  return `${all ? 'all' : 'machine'}:${name}`;
}

/** Reports messages that a channel has lost because its process did not read them in time. */
class LagEvent extends Event {
  #count;

  /** @param {number} count */
  constructor(count) {
    super('lag');
    this.#count = count;
  }

  get count() {
    return this.#count;
  }
}

class BroadcastChannel extends EventTarget {
  /** The creator's async context, in which listeners run. */
  #context = new AsyncResource('RCLUSTERCHANNEL');
  #name;
  #all;
  #number = nextNumber++;
  #open = true;
  #holds = true;
  /** @type {Map<string, { value: Function, listener: (event: Event) => void }>} */
  #handlers = new Map();

  /**
   * @param {unknown} name
   * @param {{ scope?: 'machine' | 'all' }} [options]
   */
  constructor(name, options = undefined) {
    if (arguments.length === 0) throw missing('name');
    super();
    this.#name = checkName(`${name}`);
    this.#all = checkScope(members(options, ['scope']).scope);
    const { hold, link } = connect();
    const native = link();
    if (this.#all && !native.reachesAll()) throw noBackend();
    const key = keyOf(this.#all, this.#name);
    const same = channels.get(key);
    if (same === undefined) {
      channels.set(key, new Set([this]));
      native.subscribe(this.#all, this.#name);
    } else {
      same.add(this);
    }
    hold(1);
  }

  /** @param {unknown} value */
  static #check(value) {
    if (typeof value !== 'object' || value === null || !(#name in value)) {
      const message = 'Value of "this" must be of type BroadcastChannel';
      throw Object.assign(new TypeError(message), { code: 'ERR_INVALID_THIS' });
    }
  }

  get name() {
    BroadcastChannel.#check(this);
    return this.#name;
  }

  close() {
    BroadcastChannel.#check(this);
    if (!this.#open) return;
    this.#open = false;
    const { current, hold } = connect();
    if (this.#holds) hold(-1);
    const key = keyOf(this.#all, this.#name);
    const same = channels.get(key);
    if (same === undefined || !same.delete(this) || same.size > 0) return;
    channels.delete(key);
    current()?.unsubscribe(this.#all, this.#name);
  }

  /** @param {unknown} message */
  postMessage(message) {
    BroadcastChannel.#check(this);
    if (arguments.length === 0) throw missing('message');
    if (!this.#open) throw new DOMException('BroadcastChannel is closed.', 'InvalidStateError');
    const { encodeStructured } = require('./values');
    const value = encodeStructured(message);
    const echo = (channels.get(keyOf(this.#all, this.#name))?.size ?? 0) > 1;
    const refused = connect().link().post(this.#all, this.#name, this.#number, echo, value);
    if (refused === 0) return;
    const { tooBusy, tooLarge } = require('./errors');
    const what = `The message to the channel ${JSON.stringify(this.#name)}`;
    throw refused === 1 ? tooBusy(`${what} was not sent`) : tooLarge(what);
  }

  ref() {
    BroadcastChannel.#check(this);
    return this.#hold(true);
  }

  unref() {
    BroadcastChannel.#check(this);
    return this.#hold(false);
  }

  /** @param {boolean} holds */
  #hold(holds) {
    if (this.#open && this.#holds !== holds) {
      this.#holds = holds;
      connect().hold(holds ? 1 : -1);
    }
    return this;
  }

  get onmessage() {
    return this.#handler('message');
  }

  set onmessage(value) {
    this.#setHandler('message', value);
  }

  get onmessageerror() {
    return this.#handler('messageerror');
  }

  set onmessageerror(value) {
    this.#setHandler('messageerror', value);
  }

  /** @param {string} type */
  #handler(type) {
    return this.#handlers.get(type)?.value ?? null;
  }

  /**
   * @param {string} type
   * @param {unknown} value
   */
  #setHandler(type, value) {
    const known = this.#handlers.get(type);
    if (typeof value !== 'function') {
      if (known !== undefined) this.removeEventListener(type, known.listener);
      this.#handlers.delete(type);
    } else if (known !== undefined) {
      // The handler keeps its place among the listeners.
      known.value = value;
    } else {
      const handler = {
        value,
        listener: (/** @type {Event} */ event) => Reflect.apply(handler.value, this, [event]),
      };
      this.#handlers.set(type, handler);
      this.addEventListener(type, handler.listener);
    }
  }

  /**
   * @param {number} depth
   * @param {any} options
   */
  [inspect.custom](depth, options) {
    BroadcastChannel.#check(this);
    if (depth < 0) return 'BroadcastChannel';
    const inner = { ...options, depth: options.depth == null ? null : options.depth - 1 };
    return `BroadcastChannel ${inspect({ name: this.#name, active: this.#open }, inner)}`;
  }

  /**
   * @param {Frame} frame
   * @param {BroadcastChannel} channel
   */
  static deliver({ flag, number, value }, channel) {
    // A channel does not receive its own messages.
    if (!channel.#open || ((flag & OWN) !== 0 && number === channel.#number)) return;
    let data;
    let type = 'message';
    try {
      data = require('./values').decode(value);
    } catch {
      // As in Node, the event has no data.
      [type, data] = ['messageerror', null];
    }
    channel.#dispatch(new MessageEvent(type, { data }));
  }

  /**
   * @param {number} count
   * @param {BroadcastChannel} channel
   */
  static deliverLag(count, channel) {
    channel.#dispatch(new LagEvent(count));
  }

  /** @param {Event} event */
  #dispatch(event) {
    this.#context.runInAsyncScope(this.dispatchEvent, this, event);
  }
}

const { deliver, deliverLag } = BroadcastChannel;
delete (/** @type {any} */ (BroadcastChannel).deliver);
delete (/** @type {any} */ (BroadcastChannel).deliverLag);

for (const name of ['name', 'close', 'postMessage', 'onmessage', 'onmessageerror']) {
  Object.defineProperty(BroadcastChannel.prototype, name, { enumerable: true });
}
Object.defineProperty(BroadcastChannel.prototype, Symbol.toStringTag, {
  value: 'BroadcastChannel',
  configurable: true,
});

/** @param {string} name */
function missing(name) {
  const message = `The "${name}" argument must be specified`;
  return Object.assign(new TypeError(message), { code: 'ERR_MISSING_ARGS' });
}

/** @param {Frame} frame */
function onMessage(frame) {
  // Listeners may open and close channels.
  const all = [...(channels.get(keyOf((frame.flag & COMMON) !== 0, frame.name)) ?? [])];
  for (const channel of all) deliver(frame, channel);
}

/** @param {Frame} frame */
function onLag({ flag, name, number }) {
  const all = [...(channels.get(keyOf((flag & COMMON) !== 0, name)) ?? [])];
  const heard = all.filter((channel) => getEventListeners(channel, 'lag').length > 0);
  for (const channel of heard) deliverLag(number, channel);
  if (heard.length === 0) require('./lag').warnOfLag(`the channel ${JSON.stringify(name)}`, number);
}

module.exports = { BroadcastChannel };
