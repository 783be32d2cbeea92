'use strict';

// A worker may write anything to Node's IPC channel, and Node throws at what it cannot read: in a callback of the event
// loop, so that it is an uncaught exception of the primary. Here it is caught, and only that channel ends.

const EventEmitter = require('node:events');
const { Map, Reflect, TypeError, process } = require('../globals');
const { handleOf } = require('./channel');

/** @typedef {import('./channel').End} End */

/** What Node gives to listen() for a server that came as a message. It tells whether the handle can listen at all. */
const BACKLOG = 511;

/**
 * Catches what Node throws while it reads from a channel. What listeners of the app throw is not among it: Node calls them
 * later, in a turn of their own.
 * @param {any} target A ChildProcess that was forked just now.
 * @param {(error: unknown) => void} onBroken Called once. From then on nothing is read from the channel but its end.
 */
function guardChannel(target, onBroken) {
  const end = /** @type {End} */ (target);
  const channel = handleOf(end);
  // In a Node whose channel is built in another way its exceptions stay what they are.
  if (typeof channel?.onread !== 'function') return;
  let broken = false;

  /** @param {() => void} read */
  function attempt(read) {
    try {
      read();
    } catch (error) {
      if (broken) return;
      broken = true;
      // Otherwise a disconnection would wait for the rest of what cannot be read.
      channel.buffering = false;
      onBroken(error);
    }
  }

  /** A handle that has come and that no message has claimed yet. @type {any} */
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
        // Node would forget the first one, which would stay open for ever.
        if (unclaimed !== null) {
          drop();
          unclaimed = handle;
          throw new TypeError('two handles have come and no message that has them');
        }
        unclaimed = handle;
      }
      Reflect.apply(onread, this, [bytes]);
    });
    if (broken) drop();
  };

  // Not listeners(): it reads a property that somebody may have put on Object.prototype.
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
 * What a handle must be able to do to be what the message says it is.
 * @type {Map<string, (handle: any) => boolean>}
 */
const KINDS = new Map([
  ['net.Socket', (handle) => typeof handle.readStart === 'function'],
  ['net.Server', (handle) => typeof handle.listen === 'function' && handle.listen(BACKLOG) === 0],
  ['dgram.Socket', (handle) => typeof handle.recvStart === 'function'],
]);

/**
 * Throws if a handle is not what the message says it is. Node would find out later, and tell a socket or server of which
 * nobody knows yet.
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
 * A socket or server that a worker has sent may fail at any time. If the app does not listen for that, it is a warning and
 * no exception: it would be the end of the primary, and it is the worker that decides when it fails.
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
