'use strict';

const { Map, process } = require('../globals');
const os = require('node:os');

// The messages of `cluster` itself on a worker's IPC channel, in the built-in's format and among the app's
// messages, so that 'online', 'listening' and those messages are seen in the built-in's order. Messages that
// must work while the primary's JavaScript is busy use the control socket instead.

/**
 * @typedef {import('../../index').Worker & { state: string }} Worker
 * @typedef {Record<string, any>} Message
 */

let seq = 0;

/**
 * @param {Worker} worker
 * @param {Message} message
 */
function send(worker, message) {
  const child = worker.process;
  if (!child.connected) return;
  // Looked up at each call, because the app may have wrapped it.
  child.send(/** @type {any} */ ({ cmd: 'NODE_CLUSTER', ...message, seq: seq++ }));
}

let warned = false;

/** A worker requests a listener in this way only if our preload did not run in it. */
function warnOfPreload() {
  if (warned) return;
  warned = true;
  process.emitWarning(
    'A worker listens without the preload of rcluster and cannot share the port: ' +
      'listen() fails in it with ENOTSUP. Is it started by something other than node?',
    { code: 'RCLUSTER_NO_PRELOAD' },
  );
}

/**
 * Handles the messages of workers on their IPC channels.
 * @param {import('node:events').EventEmitter} cluster
 * @param {(id: number) => void} flush Carries out what a worker has requested of the control thread so far.
 * @returns {(worker: Worker, message: Message) => void} Called for each 'internalMessage' of a worker.
 */
function createMessageHandler(cluster, flush) {
  /** @type {Map<unknown, (worker: Worker, message: Message) => void>} */
  const acts = new Map();

  acts.set('online', (worker) => {
    worker.state = 'online';
    worker.emit('online');
    cluster.emit('online', worker);
  });

  // The worker has told the native part as well. A listener of this event may rely on the worker
  // getting connections.
  acts.set('listening', (worker, { addressType, address, port, fd }) => {
    flush(worker.id);
    const info = { addressType, address, port, fd };
    worker.state = 'listening';
    worker.emit('listening', info);
    cluster.emit('listening', worker, info);
  });

  // The worker leaves by itself, and closes the channel only once the primary has acknowledged this.
  acts.set('exitedAfterDisconnect', (worker, message) => {
    worker.exitedAfterDisconnect = true;
    // A draining worker does not wait for it, and may be gone by the time this is read.
    if (!message.drains) send(worker, { ack: message.seq });
  });

  // Flushed as well: an app that gets a message sent after the worker closed its server may rely on the
  // server being closed.
  acts.set('close', (worker) => flush(worker.id));

  acts.set('queryServer', (worker, message) => {
    if (worker.exitedAfterDisconnect) return;
    warnOfPreload();
    const { address, port, addressType, fd, index } = message;
    const key = `${address}:${port}:${addressType}:${fd}:${index}`;
    send(worker, { errno: -os.constants.errno.ENOTSUP, key, ack: message.seq });
  });

  return (worker, message) => {
    if (message.cmd === 'NODE_CLUSTER') acts.get(message.act)?.(worker, message);
  };
}

module.exports = { createMessageHandler, send };
