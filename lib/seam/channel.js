'use strict';

// What rcluster knows about the internals of Node's IPC channel, at either end. The wire format and the
// reader remain Node's: the other end may be a process without rcluster.

const { Object, Reflect, String, nextTick } = require('../globals');
const { later } = require('../later');
const { listeners, prependListener, removeListener } = require('node:events').EventEmitter.prototype;

/**
 * One end of a channel: a ChildProcess, or `process` in a child.
 * @typedef {NodeJS.EventEmitter & {
 *   connected: boolean,
 *   channel: object | null,
 *   send: Function,
 *   _send: Transmit,
 *   _disconnect: () => void,
 *   _handleQueue: { message: any, handle: any, options: any, callback: any }[] | null,
 *   _pendingMessage: { handle: any } | null,
 * }} End
 *
 * @typedef {(message: any, handle?: any, options?: any, callback?: any) => boolean} Transmit
 */

/** @type {() => typeof import('./gather')} */
const gather = later('seam/gather');
/** @type {() => typeof import('./handles')} */
const handles = later('seam/handles');

/** The number of messages of a turn is sampled once per this many messages. */
const SAMPLE = 8;

/** The number of further messages in one turn from which on messages are gathered. */
const STREAM = 4;

/**
 * The handle of an end of a channel.
 * @param {End} end
 * @returns {any} undefined if the end has no channel, or if this version of Node keeps it elsewhere.
 */
function handleOf(end) {
  const key = Object.getOwnPropertySymbols(end).find(({ description }) => description === 'kChannelHandle');
  return key && /** @type {any} */ (end)[key];
}

/**
 * Whether a message acknowledges a handle or reports that it did not arrive.
 * @param {any} message
 */
function isAnswer(message) {
  const cmd = message?.cmd;
  return cmd === 'NODE_HANDLE_ACK' || cmd === 'NODE_HANDLE_NACK';
}

/**
 * Makes a channel faster where possible: many messages of one turn share a system call, and several handles
 * may be in flight. Until there is a stream of messages, or a handle, messages are only counted. If this
 * version of Node builds its channel in another way, it is left unchanged.
 * @param {any} target A ChildProcess that was forked just now, or `process` before the app runs.
 */
function improveChannel(target) {
  const end = /** @type {End} */ (target);
  const channel = handleOf(end);
  const answer = Reflect.apply(listeners, end, ['internalMessage']).find((listener) =>
    String(listener).includes('_pendingMessage'),
  );
  const known =
    answer !== undefined &&
    typeof channel?.writeUtf8String === 'function' &&
    typeof channel.writeBuffer === 'function' &&
    typeof channel.writeQueueSize === 'number' &&
    typeof channel.bytesWritten === 'number' &&
    typeof end._send === 'function' &&
    typeof end._disconnect === 'function' &&
    end._handleQueue === null &&
    end._pendingMessage === null;
  if (!known) return;

  const transmit = end._send;
  let send = transmit;
  /** @type {import('./gather').Gathering | null} while messages are gathered */
  let gathering = null;
  let pipelines = false;
  let onAnswer = /** @type {(...args: any[]) => void} */ (answer);

  function startGathering() {
    gathering ??= gather().gatherWrites(end, channel, transmit, stopGathering);
    ({ send } = gathering);
    return gathering;
  }

  function stopGathering() {
    // Handles rely on the count of written bytes.
    if (pipelines) return;
    gathering?.stop();
    gathering = null;
    send = transmit;
  }

  function pipeline() {
    pipelines = true;
    ({ send, onAnswer } = handles().pipelineHandles(end, channel, startGathering(), onAnswer));
  }

  let sent = 0;
  /** The number of messages in this turn after the sampled one; -1 if none has been sampled. */
  let following = -1;
  const endTurn = () => {
    following = -1;
  };

  /** Counts a message. @returns {boolean} whether this turn has many messages */
  function isStream() {
    if (following >= 0) return ++following >= STREAM;
    if (++sent % SAMPLE !== 0) return false;
    following = 0;
    nextTick(endTurn);
    return false;
  }

  end._send = function (message, handle, options, callback) {
    if (!pipelines && (handle || isAnswer(message))) pipeline();
    else if (gathering === null && isStream()) startGathering();
    return Reflect.apply(send, this, [message, handle, options, callback]);
  };

  Reflect.apply(removeListener, end, ['internalMessage', answer]);
  // (Node finds its listener for cluster messages by its name, which this one must not have.)
  const onMaybeAnswer = (/** @type {any} */ message, /** @type {any} */ handle) => {
    // An answer without a request would fail an assertion in Node and end this process. The sender is not
    // trusted.
    if (!pipelines && isAnswer(message)) return;
    Reflect.apply(onAnswer, end, [message, handle]);
  };
  Reflect.apply(prependListener, end, ['internalMessage', onMaybeAnswer]);
}

module.exports = { handleOf, improveChannel, isAnswer };
