'use strict';

const net = require('node:net');
const { once } = require('node:events');
const readline = require('node:readline');

/**
 * Sends requests over one connection to a control socket. A `ControlClient` opens a connection of its own for each request
 * that has events, so nothing says when the cluster has taken it; here all of them have been taken.
 * @param {string} control
 * @param {Record<string, unknown>[]} requests
 * @returns {Promise<{ next(): Promise<any>, close(): void }>} the lines that follow
 */
async function request(control, ...requests) {
  const socket = net.connect(control);
  await once(socket, 'connect');
  const lines = readline.createInterface(socket)[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value);
  // Requests of one connection are taken in order: the answer to this one says that the others have been.
  const last = { id: 'taken', verb: 'hello' };
  for (const sent of [...requests, last]) socket.write(`${JSON.stringify(sent)}\n`);
  for (;;) {
    const line = await next();
    if (line.ok === false) throw new Error(`A request failed: ${JSON.stringify(line)}`);
    if (line.id === last.id) break;
  }
  return { next, close: () => socket.destroy() };
}

module.exports = { request };
