'use strict';

// Sends several messages of a turn with one system call. Node makes one call for each, which is most of the
// cost of a short message, and makes the other end read them one by one.

const { AsyncResource } = require('node:async_hooks');
const { getSystemErrorName } = require('node:util');
const {
  Buffer,
  Error,
  Object,
  Reflect,
  Set,
  monotonic,
  nextTick,
  process,
  setImmediate,
} = require('../globals');
const { keepListening } = require('../keep-listening');

/** @typedef {import('./channel').End} End */

/**
 * The number of messages, and the size in characters or bytes, at which a batch is written at once: the other
 * end can then start on it, and reads no more at a time anyway.
 */
const MANY = 16;
const FULL = 64 * 1024;

/** Messages larger than this, in characters or bytes, gain nothing from a batch. */
const LARGE = 16 * 1024;

/**
 * The number of messages of a turn that are written at once before the rest is gathered, and the number of
 * turns, after one with more messages, in which only the first message is written at once. The first always
 * is, so that an app that sends a message and then computes for a second has sent it. An app that sends
 * streams of messages does so in most of its turns.
 */
const AT_ONCE = 4;
const BUSY = 16;

/**
 * How long, in ms, further messages are gathered after a write. A loop that computes longer between messages
 * sends each at once.
 */
const TOGETHER = 1;

/** The maximum number of UTF-8 bytes of a UTF-16 unit. */
const UTF8_MAX = 3;

/**
 * A message that waits for the others of its turn.
 * @typedef {object} Entry
 * @property {any} request Node's request, to which Node may have given an `oncomplete`
 * @property {Batch} batch
 * @property {((error: Error | null) => void) | undefined} callback the app's
 * @property {boolean} quiet whether failures are ignored
 * @property {(() => void) | undefined} held the callback, if it became due before the batch was settled
 */

/** Messages that are written together. */
class Batch {
  /** @type {Entry[]} */
  entries = [];
  /** @type {any[]} strings, or bytes */
  parts = [];
  size = 0;
  /** Whether the kernel has accepted all of it, or refused it. */
  settled = false;
  /** @type {Error | null} */
  error = null;

  isFull() {
    return this.entries.length >= MANY || this.size >= FULL;
  }

  /** @returns {string | Uint8Array} */
  join() {
    return typeof this.parts[0] === 'string' ? this.parts.join('') : Buffer.concat(this.parts);
  }

  /**
   * Completes the messages in order. Some of them Node treats as asynchronous writes, and waits for their
   * completion; others it treats as written, and their callbacks, if they were held back, are called here.
   * @param {Error | null} error
   */
  settle(error) {
    this.settled = true;
    this.error = error;
    for (const { request, held } of this.entries) {
      const complete = held ?? request.oncomplete;
      // Each in a tick of its own, so that an exception in one does not prevent the next.
      if (complete) nextTick(complete);
    }
  }
}

/**
 * Whether the sender ignores failures.
 * @param {any} options those of _send()
 */
function isQuiet(options) {
  return options === true || options?.swallowErrors === true;
}

/** The flush functions that must run if the process exits in the middle of a turn. @type {Set<() => void>} */
const unwritten = new Set();

/** Added with the first batch, so that a process without batches has no listener that its app did not add. */
let watchExit = () => {
  watchExit = () => {};
  keepListening(
    'exit',
    () => {
      for (const flush of unwritten) flush();
    },
    'prependListener',
  );
};

function isExiting() {
  return /** @type {{ _exiting?: boolean }} */ (/** @type {unknown} */ (process))._exiting === true;
}

/**
 * The error that Node creates for a failed write.
 * @param {number} errno negative
 */
function writeError(errno) {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`write ${code}`), { errno, code, syscall: 'write' });
}

/** Receives Node's result for a message. If the message is still waiting, Node's result is not final. */
class Relay {
  /** The message, if it must wait. @type {Entry | null} */
  entry = null;

  /** @param {(error: Error | null) => void} callback the app's */
  constructor(callback) {
    this.callback = callback;
  }

  call = (/** @type {Error | null} */ error) => {
    const { callback, entry } = this;
    if (error || entry === null) callback(error);
    else if (entry.batch.settled) callback(entry.batch.error);
    else entry.held = inThisContext(() => callback(entry.batch.error));
  };
}

/**
 * The state shared with the code that sends handles.
 * @typedef {object} Traffic
 * @property {number} bytes the number of bytes written so far; for text an upper bound
 * @property {boolean} patient whether the current message may wait until no more of its kind follow
 * @property {any} request Node's request for the last message that was written by itself
 */

/**
 * Binds a function that is called later to the current async context (AsyncLocalStorage), as if nothing had
 * been gathered. AsyncResource.bind() is much slower.
 * @param {() => void} callback
 * @returns {() => void}
 */
function inThisContext(callback) {
  const resource = new AsyncResource('WRITEWRAP');
  return () => resource.runInAsyncScope(callback);
}

/**
 * Gathers the messages of an end.
 * @typedef {object} Gathering
 * @property {Traffic} traffic
 * @property {import('./channel').Transmit} send what takes the place of the end's `_send`
 * @property {() => void} stop restores the channel
 */

/**
 * @param {End} end in the middle of a turn with many messages
 * @param {any} channel the handle of the end
 * @param {import('./channel').Transmit} transmit Node's `_send` of the end
 * @param {() => void} onQuiet called after several turns without many messages
 * @returns {Gathering}
 */
function gatherWrites(end, channel, transmit, onQuiet) {
  /** @type {Traffic} */
  const traffic = { bytes: channel.bytesWritten, patient: false, request: null };
  /** @type {Batch | null} */
  let batch = null;
  /** The entry that the current send() has added to the batch. @type {Entry | null} */
  let added = null;
  /** The number of messages in this turn. */
  let count = 0;
  /** The number of turns left in which only the first message is written at once. */
  let busy = BUSY;
  /** The time of the last write, in ms. */
  let lastWrite = 0;
  /** @type {(request: any, data: any, handle?: any) => number} the method that this channel writes with */
  let write;

  function endTurn() {
    if (count > AT_ONCE) busy = BUSY;
    else if (busy > 0) busy--;
    count = 0;
    flush();
    if (busy === 0) onQuiet();
  }

  function flush() {
    if (batch === null) return;
    const written = batch;
    batch = null;
    unwritten.delete(flush);
    const data = written.join();
    const request = new written.entries[0].request.constructor();
    const errno = Reflect.apply(write, channel, [request, data]);
    if (errno !== 0) return fail(written, writeError(errno));
    if (channel.writeQueueSize === 0) return written.settle(null);
    // The socket buffer is full: the rest waits in the channel's queue, as a message of Node's would.
    request.buffer = data;
    request.oncomplete = () => written.settle(null);
  }

  /**
   * Waits for a turn of the event loop in which nothing was added. Any other write flushes the batch first.
   * @param {number} seen the number of messages one turn ago
   */
  function flushWhenQuiet(seen) {
    const now = batch?.entries.length ?? 0;
    if (now > seen) setImmediate(flushWhenQuiet, now);
    else flush();
  }

  /**
   * @param {Batch} failed
   * @param {Error} error
   */
  function fail(failed, error) {
    failed.settle(error);
    for (const { callback, quiet } of failed.entries) {
      if (!callback && !quiet) nextTick(() => end.emit('error', error));
    }
  }

  /** @param {number} size */
  function mayWait(size) {
    if (traffic.patient && !isExiting()) {
      if (batch === null) setImmediate(flushWhenQuiet, 0);
      return true;
    }
    // The end of the turn is detected after everything already queued in it. If nothing would be gathered, a
    // turn with one message skips this detection, which is cheaper; the next turn continues the count.
    if (count++ === (busy > 0 ? 0 : 1)) nextTick(endTurn);
    const limit = busy > 0 ? 1 : AT_ONCE;
    // The clock is read only from the last message that is written at once onwards.
    if (count < limit) return false;
    const now = monotonic();
    if (count > limit && size <= LARGE && now - lastWrite < TOGETHER && !isExiting()) return true;
    lastWrite = now;
    return false;
  }

  /**
   * @param {any} request
   * @param {any} data
   */
  function gather(request, data) {
    if (batch === null) {
      batch = new Batch();
      watchExit();
      unwritten.add(flush);
    }
    added = { request, batch, callback: undefined, quiet: false, held: undefined };
    batch.entries.push(added);
    batch.parts.push(data);
    batch.size += data.length;
    return 0;
  }

  /** @param {'writeUtf8String' | 'writeBuffer'} method */
  function replace(method) {
    const original = channel[method];
    const bytes = method === 'writeBuffer' ? 1 : UTF8_MAX;
    channel[method] = (/** @type {any} */ request, /** @type {any} */ data, /** @type {any} */ handle) => {
      write = original;
      traffic.bytes += data.length * bytes;
      if (mayWait(data.length) && !handle) return gather(request, data);
      flush();
      traffic.request = request;
      return Reflect.apply(original, channel, [request, data, handle]);
    };
  }
  replace('writeUtf8String');
  replace('writeBuffer');

  const { close } = channel;
  channel.close = (/** @type {any[]} */ ...args) => {
    flush();
    return Reflect.apply(close, channel, args);
  };

  /**
   * Completes the entry of the current send().
   * @param {any} options
   * @param {Relay | null} relay
   */
  function complete(options, relay) {
    const entry = /** @type {Entry} */ (added);
    added = null;
    entry.quiet = isQuiet(options);
    if (relay !== null) {
      relay.entry = entry;
      entry.callback = relay.callback;
    }
    const { request } = entry;
    if (request.oncomplete) request.oncomplete = inThisContext(request.oncomplete);
    if (entry.batch.isFull()) flush();
  }

  /** @this {End} @type {import('./channel').Transmit} */
  const send = function (message, handle, options, callback) {
    const relay = typeof callback === 'function' ? new Relay(callback) : null;
    const result = Reflect.apply(transmit, this, [
      message,
      handle,
      options,
      relay === null ? callback : relay.call,
    ]);
    if (added !== null) complete(options, relay);
    return result;
  };

  function stop() {
    for (const method of ['writeUtf8String', 'writeBuffer', 'close']) delete channel[method];
  }

  return { traffic, send, stop };
}

module.exports = { gatherWrites, isQuiet, writeError };
