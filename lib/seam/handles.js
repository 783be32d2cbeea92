'use strict';

// Keeps several handles in flight on a channel. Node sends one, and then nothing until the other end has
// acknowledged it. Node's own code is used for everything; only the list of unacknowledged handles is
// extended.

const { Reflect, nextTick } = require('../globals');
const { isAnswer } = require('./channel');
const { writeError } = require('./gather');

/** @typedef {import('./channel').End} End */

/**
 * The maximum number of handles in flight. Each is a descriptor that stays open until it is acknowledged, and counts
 * towards the user's limit of descriptors in flight, which equals a process's limit of open files. It is
 * twice the number that is acknowledged at a time.
 */
const WINDOW = 32;

/**
 * Another message may follow a message with a handle only if that message is certain to be read in one piece.
 * A reader takes up to 64 KiB at a time, but nothing after the first handle in it, so such a message then
 * ends the read. Otherwise its rest would be read together with the following bytes: another handle would be
 * mistaken for its own, and later messages would overtake it, because Node needs one more step to deliver it. So
 * it must be written to the socket in one piece, which the kernel does for short messages, and no read may
 * end inside it because 64 KiB are full. Everything that the other end has acknowledged was read, so fewer
 * than 64 KiB may have been written since.
 */
const SHORT = 4 * 1024;
const READ_AT_ONCE = 64 * 1024;

/**
 * A message with a handle that was sent and not yet acknowledged.
 * @typedef {object} Sent
 * @property {End['_pendingMessage']} pending Node's record of it, with the handle if it must be closed
 * @property {number} position the number of bytes written to the channel up to its end
 * @property {boolean} isWhole whether it will be read in one piece
 * @property {boolean} isWrapped whether it wraps another message with a handle, and so gets two answers; this is
 *   how Node resends a message that did not arrive
 */

/**
 * @param {End} end through which no handle has been sent yet
 * @param {any} channel the handle of the end
 * @param {import('./gather').Gathering} gathering
 * @param {(...args: any[]) => void} answer Node's listener to 'internalMessage' that sends and handles answers
 * @returns {{ send: import('./channel').Transmit, onAnswer: (message: any, handle: any) => void }} what takes the place of the
 *   end's `_send` and for that listener
 */
function pipelineHandles(end, channel, { traffic, send: transmit }, answer) {
  /** @type {Sent[]} */
  const underway = [];
  /** The messages that wait for room, in sending order. This is Node's list unless Node's code is running. */
  let waiting = /** @type {NonNullable<End['_handleQueue']>} */ ([]);
  /** The position up to which the other end has certainly read. */
  let read = 0;

  /**
   * Whether a message may be sent now.
   * @param {any} handle the handle sent with it, if any
   */
  function isOpen(handle) {
    const last = underway.at(-1);
    return last === undefined || (last.isWhole && (!handle || underway.length < WINDOW));
  }

  const { send, _disconnect: disconnect } = end;

  /** @this {End} @type {import('./channel').Transmit} */
  const sendPipelined = function (message, handle, options, callback) {
    if (isAnswer(message)) {
      // Acknowledgements are batched: sent singly they would cost more than the rest of the transfer, and the
      // sender needs them only when its window is full.
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
      // Node queues this message and all that are sent after it.
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
    // Nothing was written, it failed at once, or the value given as a handle is not one.
    if (this._handleQueue === null) return result;

    // Node waits for an answer now; its state is reset so that it does not.
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
    // Data that a socket receives from now on belongs to the other process. Node would read and discard it
    // until the socket is acknowledged, which may take a while here.
    sent.pending?.handle.readStop?.();
    if (sent.isWhole) this._handleQueue = null;

    // Handles are written asynchronously. Node ignores the result, and would wait for an answer that cannot
    // come. As with Node, without a callback the failure is not reported.
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

  // As in Node, the channel stays open until everything has arrived.
  end._disconnect = function () {
    if (underway.length === 0 && waiting.length === 0 && !this._handleQueue?.length) {
      Reflect.apply(disconnect, this, []);
    }
  };

  /** Sends waiting messages while there is room. */
  function sendWaiting() {
    const queue = waiting;
    let sent = 0;
    try {
      while (sent < queue.length && isOpen(queue[sent].handle)) {
        const { message, handle, options, callback } = queue[sent++];
        end._send(message, handle, options, callback);
      }
    } finally {
      // A message that cannot be written throws, here as in Node, but the others stay queued.
      waiting = [];
      queue.splice(0, sent);
      if (queue.length > 0 || !isOpen(null)) {
        queue.push(...(end._handleQueue ?? []));
        end._handleQueue = queue;
        // Otherwise the next answer continues it.
        if (underway.length === 0) nextTick(goOn);
      }
    }
    // A disconnect was requested while messages were still waiting.
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

  const onAnswer = function (/** @type {any} */ message, /** @type {any} */ handle) {
    if (!isAnswer(message)) {
      Reflect.apply(answer, end, [message, handle]);
      return;
    }
    const [sent] = underway;
    // An answer without a request. The sender is not trusted.
    if (sent === undefined) return;
    if (sent.isWrapped && message.cmd === 'NODE_HANDLE_ACK') {
      sent.isWrapped = false;
      return;
    }
    underway.shift();
    read = sent.position;
    takeQueue();
    // Node closes this handle, or sends it again: after those that were sent after it, because they are
    // already on their way.
    end._pendingMessage = sent.pending;
    end._handleQueue = [];
    try {
      Reflect.apply(answer, end, [message, handle]);
    } finally {
      sendWaiting();
    }
  };
  const onread = channel.onread;
  channel.onread = function (/** @type {ArrayBuffer | undefined} */ bytes) {
    if (bytes !== undefined) {
      Reflect.apply(onread, this, [bytes]);
      return;
    }
    // The other end is gone. Node would wait for its answers forever, and not emit 'disconnect'.
    takeQueue();
    const lost = waiting;
    waiting = [];
    for (const { pending } of underway.splice(0)) pending?.handle.close();
    // Without this Node would report the app's own pending disconnect as an error.
    if (end.channel) end.connected = true;
    Reflect.apply(onread, this, [bytes]);
    for (const { message, callback } of lost) {
      // Messages without a callback fail silently: an 'error' event would end apps that Node does not end.
      if (typeof callback === 'function') Reflect.apply(send, end, [message, callback]);
    }
  };
  return { send: sendPipelined, onAnswer };
}

module.exports = { pipelineHandles };
