'use strict';

// What rcluster knows of the insides of Node's IPC channel, the same at both of its ends. What is on the wire, and who
// reads it, stays Node's: the other end may be a process that knows nothing of rcluster.

const { Object, Reflect, String } = require('../globals');
const { listeners } = require('node:events').EventEmitter.prototype;
const { gatherWrites } = require('./gather');
const { pipelineHandles } = require('./handles');

/**
 * One end of a channel: a ChildProcess, or `process` in a child.
 * @typedef {NodeJS.EventEmitter & {
 *   connected: boolean,
 *   channel: object | null,
 *   send: Function,
 *   _send: (message: any, handle?: any, options?: any, callback?: any) => boolean,
 *   _disconnect: () => void,
 *   _handleQueue: { message: any, handle: any, options: any, callback: any }[] | null,
 *   _pendingMessage: { handle: any } | null,
 * }} End
 */

/**
 * The handle under an end of a channel.
 * @param {End} end
 * @returns {any} undefined for an end that has no channel, or in a Node that hides it elsewhere.
 */
function handleOf(end) {
  const key = Object.getOwnPropertySymbols(end).find(({ description }) => description === 'kChannelHandle');
  return key && /** @type {any} */ (end)[key];
}

/**
 * Makes a channel faster: the messages of a turn share a system call, and more than one handle is under way. In a Node
 * whose channel is built in another way it is left alone; it then is as fast as that Node's.
 * @param {any} target A ChildProcess that was forked just now, or `process` before the app runs.
 */
function improveChannel(target) {
  const end = /** @type {End} */ (target);
  const handle = handleOf(end);
  const answer = Reflect.apply(listeners, end, ['internalMessage']).find((listener) =>
    String(listener).includes('_pendingMessage'),
  );
  const known =
    answer !== undefined &&
    typeof handle?.writeUtf8String === 'function' &&
    typeof handle.writeBuffer === 'function' &&
    typeof handle.writeQueueSize === 'number' &&
    typeof end._send === 'function' &&
    typeof end._disconnect === 'function' &&
    end._handleQueue === null &&
    end._pendingMessage === null;
  if (!known) return;
  const traffic = gatherWrites(end, handle);
  pipelineHandles(end, handle, traffic, /** @type {any} */ (answer));
}

module.exports = { handleOf, improveChannel };
