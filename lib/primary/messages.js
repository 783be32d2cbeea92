'use strict';

const { Map, process } = require('../globals');
const os = require('node:os');

// The conversation that `cluster` itself has on a worker's IPC channel, in the built-in's own format, between the
// app's messages: so the order in which 'online', 'listening' and those messages are seen is the built-in's. What has
// to work while the primary's JavaScript is busy does not come this way.

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
  // Looked up now: the app may have wrapped it.
  child.send(/** @type {any} */ ({ cmd: 'NODE_CLUSTER', ...message, seq: seq++ }));
}

let warned = false;

/** A worker asks this way for a listener only if our preload did not run in it. */
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
 * Does what the workers of a cluster say on their channels.
 * @param {import('node:events').EventEmitter} cluster
 * @param {(id: number) => void} catchUp Does what a worker has asked of the native supervisor so far.
 * @returns {(worker: Worker, message: Message) => void} For each 'internalMessage' of a worker.
 */
function createMessageHandler(cluster, catchUp) {
  /** @type {Map<unknown, (worker: Worker, message: Message) => void>} */
  const acts = new Map();

  acts.set('online', (worker) => {
    worker.state = 'online';
    worker.emit('online');
    cluster.emit('online', worker);
  });

  acts.set('listening', (worker, { addressType, address, port, fd }) => {
    const info = { addressType, address, port, fd };
    worker.state = 'listening';
    worker.emit('listening', info);
    cluster.emit('listening', worker, info);
  });

  // The worker leaves of its own accord; it closes the channel only once it knows that the primary knows.
  acts.set('exitedAfterDisconnect', (worker, message) => {
    worker.exitedAfterDisconnect = true;
    // One that drains does not wait for it, and may be gone by the time this is read.
    if (!message.drains) send(worker, { ack: message.seq });
  });

  // It has asked the native supervisor for that, too, on a socket of its own. An app that hears from the worker after it
  // has closed its server may count on the server being closed.
  acts.set('close', (worker) => catchUp(worker.id));

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
