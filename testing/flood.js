'use strict';

// A client that sends endlessly, on a thread of its own, and reads everything that it receives.

const { once } = require('node:events');
const { Worker } = require('node:worker_threads');

const CODE = `
const net = require('node:net');
const { parentPort, workerData: { target, first, text } } = require('node:worker_threads');
const pieces = Buffer.from(text.repeat(Math.ceil((1 << 18) / text.length)));
const socket = net.connect(target, () => {
  socket.write(first);
  const send = () => {
    while (socket.write(pieces));
    socket.once('drain', send);
  };
  send();
  parentPort.postMessage('it sends');
});
socket.on('error', () => {});
socket.resume();
`;

/**
 * Runs `body` while a client sends.
 * @param {import('node:net').NetConnectOpts} target
 * @param {string} first what it sends once
 * @param {string} text what it sends from then on, again and again
 * @param {() => Promise<void>} body
 */
async function whileOneFloods(target, first, text, body) {
  const client = new Worker(CODE, { eval: true, workerData: { target, first, text } });
  await once(client, 'message');
  try {
    await body();
  } finally {
    await client.terminate();
  }
}

module.exports = { whileOneFloods };
