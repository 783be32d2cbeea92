'use strict';

const path = require('node:path');
const { fork } = require('node:child_process');

/**
 * In an open loop, every `slowEvery`th request asks for `/slow`.
 * @typedef {{ mode: 'open', rate: number, seconds: number, port: number, timeoutMs: number,
 *   slowEvery?: number }} OpenLoop
 * @typedef {{ mode: 'closed', clients: number, count?: number, seconds?: number, port: number,
 *   timeoutMs: number }} ClosedLoop
 * @typedef {OpenLoop | ClosedLoop} ClientOptions
 */

/**
 * One request of an open loop.
 * @typedef {object} RequestRecord
 * @property {number} at when it began, in milliseconds since the epoch
 * @property {string} localAddress where it came from
 * @property {string} path the requested path
 * @property {string} [worker] the worker that answered, if known
 * @property {import('./request').Outcome} outcome how it ended
 * @property {number} latency after how many milliseconds
 * @property {number} lateness by how many milliseconds the client itself was late to start it
 */

/**
 * Runs the load client to its end.
 * @template {ClientOptions} O
 * @param {O} options
 * @returns {Promise<O extends OpenLoop ? { records: RequestRecord[] }
 *   : { elapsedMs: number, latencies: number[], failed: number,
 *     outcomes: Partial<Record<import('./request').Outcome, number>> }>}
 */
function runClient(options) {
  return new Promise((resolve, reject) => {
    const client = fork(path.join(__dirname, 'client-process.js'), [JSON.stringify(options)], {
      execArgv: [],
    });
    /** @type {any} */
    let result;
    client.on('error', reject);
    client.on('message', (message) => {
      result = message;
      client.disconnect();
    });
    client.on('exit', (code, signal) => {
      if (result) resolve(result);
      else reject(new Error(`the load client ended with ${code ?? signal}`));
    });
  });
}

module.exports = { runClient };
