'use strict';

const net = require('node:net');
const { performance } = require('node:perf_hooks');

/**
 * How a request ended. `refused`: no process listened. `reset` and `closed`: the connection broke before the
 * answer was complete. `hung`: no answer in time.
 * @typedef {'ok' | 'refused' | 'reset' | 'closed' | 'hung'} Outcome
 */

/**
 * @typedef {object} Target
 * @property {number} port on 127.0.0.1
 * @property {number} timeoutMs until it counts as hung
 * @property {string} [localAddress] the local address
 * @property {string} [path] what it asks for; `/` by default
 */

const REST = 'HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

/**
 * One request on a connection of its own. The latency runs from connect() to the last byte of the answer;
 * `done` is called when the connection is closed as well, so that a caller in a loop never has more
 * connections open than intended.
 * @param {Target} target
 * @param {(outcome: Outcome, latencyMs: number, worker: string | undefined) => void} done The worker, where it tells.
 */
function request({ port, timeoutMs, localAddress, path = '/' }, done) {
  const started = performance.now();
  /** @type {Outcome} */
  let outcome = 'closed';
  let latency = 0;
  let answer = '';
  const socket = net.connect({ port, host: '127.0.0.1', localAddress });
  socket.setNoDelay();
  socket.write(`GET ${path} ${REST}`);
  const timer = setTimeout(() => {
    if (outcome !== 'ok') outcome = 'hung';
    socket.destroy();
  }, timeoutMs);
  socket.setEncoding('latin1');
  socket.on('data', (chunk) => {
    answer += chunk;
    if (outcome === 'ok' || !isComplete(answer)) return;
    outcome = 'ok';
    latency = performance.now() - started;
  });
  socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
    if (outcome === 'ok') return;
    if (error.code === 'ECONNREFUSED') outcome = 'refused';
    else if (error.code === 'ECONNRESET' || error.code === 'EPIPE') outcome = 'reset';
    // Anything else (no ports, no files) is a problem of the client, and would distort the figures unnoticed.
    else throw error;
  });
  socket.on('close', () => {
    clearTimeout(timer);
    done(outcome, latency || performance.now() - started, /\r\nx-worker: (\d+)/i.exec(answer)?.[1]);
  });
}

/** @param {string} answer */
function isComplete(answer) {
  const end = answer.indexOf('\r\n\r\n');
  if (end < 0) return false;
  if (!answer.startsWith('HTTP/1.1 200 ')) throw new Error(`unexpected answer: ${answer.slice(0, 80)}`);
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(answer.slice(0, end + 2));
  if (!length) throw new Error('an answer without Content-Length');
  return answer.length - end - 4 >= Number(length[1]);
}

module.exports = { request };
