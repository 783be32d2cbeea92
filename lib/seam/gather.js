'use strict';

// Several messages of a turn leave in one system call. Node makes one for each, which is most of what a short message
// costs, and has the other end read them one by one.

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

/** @typedef {import('./channel').End} End */

/**
 * A batch of so many messages, or of so much text or so many bytes, is written at once: so that the other end has
 * something to do while this one goes on, and since it reads no more at a time.
 */
const MANY = 16;
const FULL = 64 * 1024;

/** Messages larger than this, in characters or bytes, gain nothing by company. */
const LARGE = 16 * 1024;

/**
 * How many messages of a turn are written at once before the rest is gathered, and for how many turns after one with
 * more than that only the first is. The first always is: whoever sends something and then computes for a second has
 * sent it, and so has who sends a few things. An app that sends streams of messages does so in most of its turns.
 */
const AT_ONCE = 4;
const BUSY = 16;

/** Milliseconds after a write for which further messages are gathered: a loop that computes between them sends each. */
const TOGETHER = 1;

/** The most bytes that a character takes. */
const UTF8_MAX = 3;

/**
 * A message that waits for the others of its turn.
 * @typedef {object} Entry
 * @property {any} request Node's request, to which Node may have given an `oncomplete`
 * @property {Batch} batch
 * @property {((error: Error | null) => void) | undefined} callback the app's
 * @property {boolean} quiet whether nobody is to hear of a failure
 * @property {(() => void) | undefined} held the callback, once it was due while the batch was still under way
 */

/** Messages that are written together. */
class Batch {
  /** @type {Entry[]} */
  entries = [];
  /** @type {any[]} strings, or bytes */
  parts = [];
  size = 0;
  /** Whether the system has taken all of it, or refused it. */
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
   * Completes the messages in their order. Node took some of them for asynchronous writes and waits for
   * their completion; others it took for written, and what they would have called is called here if it was held back.
   * @param {Error | null} error
   */
  settle(error) {
    this.settled = true;
    this.error = error;
    for (const { request, held } of this.entries) {
      const complete = held ?? request.oncomplete;
      // Each by itself: what one of them throws is not to keep the next from being called.
      if (complete) nextTick(complete);
    }
  }
}

/**
 * Whether the sender does not want to hear of a failure.
 * @param {any} options those of _send()
 */
function isQuiet(options) {
  return options === true || options?.swallowErrors === true;
}

/** What has to be written if the process exits in the middle of a turn. @type {Set<() => void>} */
const unwritten = new Set();

/** From the first batch on, so that a process that needs none has no listener that its app has not made. */
let watchExit = () => {
  watchExit = () => {};
  process.prependListener('exit', () => {
    for (const flush of unwritten) flush();
  });
};

function isExiting() {
  return /** @type {{ _exiting?: boolean }} */ (/** @type {unknown} */ (process))._exiting === true;
}

/**
 * The error that Node makes of a failed write.
 * @param {number} errno negative
 */
function writeError(errno) {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`write ${code}`), { errno, code, syscall: 'write' });
}

/** Takes the call that Node makes for a message: if the message waits, what Node knows of it is not true yet. */
class Relay {
  /** The message, if it has to wait. @type {Entry | null} */
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
 * What is shared with those who send.
 * @typedef {object} Traffic
 * @property {number} bytes how much was written so far; for text it is an upper bound
 * @property {boolean} patient whether what is sent now may wait until there is no more of the kind
 * @property {any} request Node's request for the last message that was written by itself
 */

/**
 * Has a function that is called later run where it would have run if nothing had been gathered, as to what
 * AsyncLocalStorage holds. AsyncResource.bind() takes much longer.
 * @param {() => void} callback
 * @returns {() => void}
 */
function inThisContext(callback) {
  const resource = new AsyncResource('WRITEWRAP');
  return () => resource.runInAsyncScope(callback);
}

/**
 * @param {End} end
 * @param {any} channel the handle of the end
 * @returns {Traffic}
 */
function gatherWrites(end, channel) {
  /** @type {Traffic} */
  const traffic = { bytes: 0, patient: false, request: null };
  /** @type {Batch | null} */
  let batch = null;
  /** What the send() that is under way has added to it. @type {Entry | null} */
  let added = null;
  /** The messages of this turn. */
  let count = 0;
  /** For how many more turns only the first message is written at once. */
  let busy = 0;
  /** When something was last written, in ms. */
  let lastWrite = 0;
  /** @type {(request: any, data: any, handle?: any) => number} the method that this channel writes with */
  let write;

  function endTurn() {
    if (count > AT_ONCE) busy = BUSY;
    else if (busy > 0) busy--;
    count = 0;
    flush();
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
    // The system has no room: the rest of it waits in the channel's queue, as a message of Node's would.
    request.buffer = data;
    request.oncomplete = () => written.settle(null);
  }

  /**
   * Waits for a turn of the loop in which nothing was added. Whatever is written meanwhile takes all of it along.
   * @param {number} seen how many messages there were a turn ago
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
    // It comes after all that is already waiting to be run in this turn. Where nothing would be gathered the end of a
    // turn with one message goes unnoticed, which is cheaper, and has the next turn count from there.
    if (count++ === (busy > 0 ? 0 : 1)) nextTick(endTurn);
    const limit = busy > 0 ? 1 : AT_ONCE;
    // Before the last of those that are written at once nobody asks for the time.
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
   * Completes what the send() that is under way has added.
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

  const send = end._send;
  end._send = function (message, handle, options, callback) {
    const relay = typeof callback === 'function' ? new Relay(callback) : null;
    const result = Reflect.apply(send, this, [
      message,
      handle,
      options,
      relay === null ? callback : relay.call,
    ]);
    if (added !== null) complete(options, relay);
    return result;
  };
  return traffic;
}

module.exports = { gatherWrites, isQuiet, writeError };
