'use strict';

// More than one handle at a time on its way through a channel. Node sends one, and then nothing until the other end has
// acknowledged it. Its own code is kept for all that: here only its list of what is under way is made longer.

const { Reflect, nextTick } = require('../globals');
const { prependListener, removeListener } = require('node:events').EventEmitter.prototype;
const { writeError } = require('./gather');

/** @typedef {import('./channel').End} End */

/**
 * The most handles that are under way. Each is a descriptor that stays open until it is acknowledged, and counts among
 * those in flight, of which a user may not have more in all than a process may have open. It is twice what is acknowledged at a time.
 */
const WINDOW = 32;

/**
 * Something may follow a message with a handle only if that message is certain to be read in one piece. A reader takes up
 * to 64 KiB at a time, but nothing behind the first handle in it, so that such a message then is the last of what is
 * read. If it is not, its end is read together with what follows: another handle would be taken for its own, and other
 * messages would overtake it, since Node takes one step more to deliver it. So it has to be in the socket in one piece,
 * which the kernel does to short ones, and no read may end in it because 64 KiB are full. What the other end has
 * acknowledged was read, so there must be less than that since.
 */
const SHORT = 4 * 1024;
const READ_AT_ONCE = 64 * 1024;

/**
 * A message with a handle that was sent and not yet acknowledged.
 * @typedef {object} Sent
 * @property {End['_pendingMessage']} pending what Node keeps of it: the handle to be closed, if it is
 * @property {number} position how much had been written to the channel with it
 * @property {boolean} isWhole whether it will be read in one piece
 * @property {boolean} isWrapped whether it is a message with a handle within another one, which has two answers; this is
 *   how Node sends what did not arrive once more
 */

/**
 * Whether a message tells the other end what became of a handle.
 * @param {any} message
 */
function isAnswer(message) {
  const cmd = message?.cmd;
  return cmd === 'NODE_HANDLE_ACK' || cmd === 'NODE_HANDLE_NACK';
}

/**
 * @param {End} end
 * @param {any} channel the handle of the end
 * @param {import('./gather').Traffic} traffic
 * @param {(...args: any[]) => void} answer Node's listener to 'internalMessage' that sends and takes the answers
 */
function pipelineHandles(end, channel, traffic, answer) {
  /** @type {Sent[]} */
  const underway = [];
  /** What waits until there is room, in the order it was sent. It is Node's list unless Node is at work. */
  let waiting = /** @type {NonNullable<End['_handleQueue']>} */ ([]);
  /** Up to where the other end has certainly read. */
  let read = 0;

  /**
   * Whether something may be sent now.
   * @param {any} handle what goes with it, if anything
   */
  function isOpen(handle) {
    const last = underway.at(-1);
    return last === undefined || (last.isWhole && (!handle || underway.length < WINDOW));
  }

  const { send, _send: transmit, _disconnect: disconnect } = end;

  end._send = function (message, handle, options, callback) {
    if (isAnswer(message)) {
      // Each alone would cost more than all else about a handle, and nobody waits for it as long as there is room.
      traffic.patient = true;
      try {
        return Reflect.apply(transmit, this, [message, handle, options, callback]);
      } finally {
        traffic.patient = false;
      }
    }
    if (!handle || this._handleQueue !== null) {
      return Reflect.apply(transmit, this, [message, handle, options, callback]);
    }
    if (!isOpen(handle)) {
      // Node puts this one there, and whatever is sent after it.
      this._handleQueue = [];
      return Reflect.apply(transmit, this, [message, handle, options, callback]);
    }

    const start = traffic.bytes;
    /** @type {Error | null} */
    let failure = null;
    const relay =
      typeof callback === 'function'
        ? (/** @type {Error | null} */ error) => callback(error ?? failure)
        : callback;
    const result = Reflect.apply(transmit, this, [message, handle, options, relay]);
    // Nothing was written, or it failed at once, or there was no handle in what was given for one.
    if (this._handleQueue === null) return result;

    // Node has begun to wait for an answer, and is made to forget that.
    const position = traffic.bytes;
    /** @type {Sent} */
    const sent = {
      pending: this._pendingMessage,
      position,
      isWhole: position - start <= SHORT && position - read < READ_AT_ONCE,
      isWrapped: message?.cmd === 'NODE_HANDLE',
    };
    underway.push(sent);
    this._pendingMessage = null;
    // What a socket receives from now on is the other process's to read. Node goes on reading, and throws away what it
    // gets, until the socket is acknowledged, for which nobody here is in a hurry.
    sent.pending?.handle.readStop?.();
    if (sent.isWhole) this._handleQueue = null;

    // Handles are written asynchronously. Node does not look at how that ends, and waits for an answer that cannot come.
    // As with Node nobody hears of it who has given no callback.
    const { request } = traffic;
    const { oncomplete } = request;
    request.oncomplete = function (/** @type {number} */ status, /** @type {any[]} */ ...rest) {
      if (status < 0 && underway.includes(sent)) {
        failure = writeError(status);
        underway.splice(underway.indexOf(sent), 1);
        sent.pending?.handle.close();
        goOn();
      }
      return oncomplete && Reflect.apply(oncomplete, this, [status, ...rest]);
    };
    return result;
  };

  // As in Node the channel stays until everything has arrived.
  end._disconnect = function () {
    if (underway.length === 0 && waiting.length === 0 && !this._handleQueue?.length) {
      Reflect.apply(disconnect, this, []);
    }
  };

  /** Sends what waits, as far as there is room. */
  function sendWaiting() {
    const queue = waiting;
    let sent = 0;
    try {
      while (sent < queue.length && isOpen(queue[sent].handle)) {
        const { message, handle, options, callback } = queue[sent++];
        end._send(message, handle, options, callback);
      }
    } finally {
      // What cannot be written throws, here as in Node; but it takes nothing else with it.
      waiting = [];
      queue.splice(0, sent);
      if (queue.length > 0 || !isOpen(null)) {
        queue.push(...(end._handleQueue ?? []));
        end._handleQueue = queue;
        // Otherwise the next answer is the occasion to go on.
        if (underway.length === 0) nextTick(goOn);
      }
    }
    // It was asked for while something was still to be sent.
    if (!end.connected && end.channel) end._disconnect();
  }

  function takeQueue() {
    waiting = end._handleQueue ?? [];
    end._handleQueue = null;
  }

  function goOn() {
    if (!end.channel) return;
    takeQueue();
    sendWaiting();
  }

  Reflect.apply(removeListener, end, ['internalMessage', answer]);
  const onAnswer = function (/** @type {any} */ message, /** @type {any} */ handle) {
    if (!isAnswer(message)) {
      Reflect.apply(answer, end, [message, handle]);
      return;
    }
    const [sent] = underway;
    // An answer to nothing, which Node's assertion would make the end of this process: its sender is not to be trusted.
    if (sent === undefined) return;
    if (sent.isWrapped && message.cmd === 'NODE_HANDLE_ACK') {
      sent.isWrapped = false;
      return;
    }
    underway.shift();
    read = sent.position;
    takeQueue();
    // Node closes this handle, or sends it once more: behind those that were sent after it, since they are on their way.
    end._pendingMessage = sent.pending;
    end._handleQueue = [];
    try {
      Reflect.apply(answer, end, [message, handle]);
    } finally {
      sendWaiting();
    }
  };
  Reflect.apply(prependListener, end, ['internalMessage', onAnswer]);

  const onread = channel.onread;
  channel.onread = function (/** @type {ArrayBuffer | undefined} */ bytes) {
    if (bytes !== undefined) {
      Reflect.apply(onread, this, [bytes]);
      return;
    }
    // The other end is gone. Node would wait for its answers for ever, and not tell of the disconnection.
    takeQueue();
    const lost = waiting;
    waiting = [];
    for (const { pending } of underway.splice(0)) pending?.handle.close();
    // That the app has asked for it is no error, as it would be if that had been carried out.
    if (end.channel) end.connected = true;
    Reflect.apply(onread, this, [bytes]);
    for (const { message, callback } of lost) {
      // Those without a callback have nobody to tell: an 'error' of this kind would end apps that Node does not end.
      if (typeof callback === 'function') Reflect.apply(send, end, [message, callback]);
    }
  };
}

module.exports = { pipelineHandles };
