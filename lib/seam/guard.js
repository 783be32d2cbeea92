'use strict';

// A worker may write anything to Node's IPC channel, and Node throws for what it cannot read: in a callback
// of the event loop, where it is an uncaught exception of the primary. This guard catches it, and only that
// channel ends.

const EventEmitter = require('node:events');
const { Map, Object, RangeError, Reflect, TypeError, process } = require('../globals');
const { handleOf } = require('./channel');

/** @typedef {import('./channel').End} End */

/**
 * The backlog with which Node calls listen() on a received server. The call also shows whether the handle can
 * listen.
 */
const BACKLOG = 511;

/**
 * The longest message that a worker may send, in bytes or UTF-16 code units. Node keeps what it has read of a message until
 * the rest arrives, without a limit of its own.
 */
const LONGEST = 128 * 2 ** 20;

/** The symbols of the properties in which Node keeps it: text, or buffers and their total size. */
const KEPT = ['kJSONBuffer', 'kMessageBuffer', 'kMessageBufferSize'];

/**
 * How much of an incomplete message Node has read from a channel, in the units of `LONGEST`.
 * @param {any} channel
 * @param {readonly symbol[]} kept
 */
function lengthKept(channel, kept) {
  let length = 0;
  for (const place of kept) {
    const value = channel[place];
    if (typeof value === 'string') length += value.length;
    else if (typeof value === 'number') length += value;
  }
  return length;
}

/**
 * @param {any} channel
 * @param {readonly symbol[]} kept
 */
function dropKept(channel, kept) {
  for (const place of kept) {
    const value = channel[place];
    channel[place] = typeof value === 'string' ? '' : typeof value === 'number' ? 0 : [];
  }
}

/**
 * Catches the exceptions that Node throws while it reads from a channel. Exceptions of the app's listeners
 * are not caught: Node calls those later, in a turn of their own.
 * @param {any} target A ChildProcess that was forked just now.
 * @param {(error: unknown) => void} onBroken Called once. From then on only the end of the channel is read.
 */
function guardChannel(target, onBroken) {
  const end = /** @type {End} */ (target);
  const channel = handleOf(end);
  // If this version of Node builds its channel in another way, its exceptions are not caught.
  if (typeof channel?.onread !== 'function') return;
  let broken = false;
  const kept = Object.getOwnPropertySymbols(channel).filter((it) => KEPT.includes(`${it.description}`));

  /** @param {() => void} read */
  function attempt(read) {
    try {
      read();
    } catch (error) {
      if (broken) return;
      broken = true;
      // Otherwise a disconnect would wait for the rest of the unreadable message.
      channel.buffering = false;
      dropKept(channel, kept);
      onBroken(error);
    }
  }

  /** A received handle that no message has claimed yet. @type {any} */
  let unclaimed = null;

  function drop() {
    unclaimed?.close();
    unclaimed = null;
  }

  const { onread } = channel;
  channel.onread = function (/** @type {ArrayBuffer | undefined} */ bytes) {
    if (bytes === undefined) {
      drop();
      Reflect.apply(onread, this, [bytes]);
      return;
    }
    const handle = this.pendingHandle;
    attempt(() => {
      if (broken) {
        handle?.close();
        this.pendingHandle = null;
        return;
      }
      if (handle) {
        // Node would forget the first handle, which would then stay open forever.
        if (unclaimed !== null) {
          drop();
          unclaimed = handle;
          throw new TypeError('two handles have come and no message that has them');
        }
        unclaimed = handle;
      }
      Reflect.apply(onread, this, [bytes]);
      if (lengthKept(this, kept) > LONGEST) {
        throw new RangeError(`it is longer than ${LONGEST / 2 ** 20} MiB`);
      }
    });
    if (broken) drop();
  };

  // Not listeners(), which reads a property that may be defined on Object.prototype.
  for (const listener of end.rawListeners('internalMessage')) {
    end.removeListener('internalMessage', /** @type {any} */ (listener));
    end.on('internalMessage', (/** @type {any} */ message, /** @type {any} */ handle) => {
      if (handle && handle === unclaimed) unclaimed = null;
      if (broken) {
        handle?.close();
        return;
      }
      attempt(() => {
        checkHandle(message, handle);
        Reflect.apply(listener, end, [message, handle]);
      });
    });
  }
}

/**
 * Checks whether a handle has the methods of the type that its message names.
 * @type {Map<string, (handle: any) => boolean>}
 */
const KINDS = new Map([
  ['net.Socket', (handle) => typeof handle.readStart === 'function'],
  ['net.Server', (handle) => typeof handle.listen === 'function' && handle.listen(BACKLOG) === 0],
  ['dgram.Socket', (handle) => typeof handle.recvStart === 'function'],
]);

/**
 * Throws if a handle is not of the type that its message names. Node would find out later, and emit the error
 * on a socket or server that no code knows yet.
 * @param {any} message
 * @param {any} handle
 */
function checkHandle(message, handle) {
  if (message.cmd !== 'NODE_HANDLE' || !handle) return;
  const is = KINDS.get(message.type);
  if (is === undefined || is(handle)) return;
  handle.close();
  throw new TypeError(`a handle has come that is no ${message.type}`);
}

/**
 * A socket or server that a worker has sent may fail at any time. If the app has no listener for its errors,
 * this emits a warning instead of an exception: the worker controls when it fails, and the exception would
 * end the primary.
 * @param {number} id of the worker
 * @param {unknown} handle
 */
function guardHandle(id, handle) {
  if (!(handle instanceof EventEmitter)) return;
  const warn = (/** @type {Error} */ error) => {
    if (handle.listenerCount('error') > 1) return;
    process.emitWarning(
      `What worker ${id} has sent failed, and nobody listens for its errors: ${error.message}`,
      {
        code: 'RCLUSTER_PROTOCOL',
      },
    );
  };
  handle.on('error', warn);
}

module.exports = { guardChannel, guardHandle };
