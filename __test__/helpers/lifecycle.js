'use strict';

const http = require('node:http');
const https = require('node:https');
const { setTimeout: pause } = require('node:timers/promises');
const { withFixture } = require('./run-fixture.js');
const { certificate } = require('./programs.js');

/**
 * @typedef {InstanceType<typeof import('../../testing/fixture.js').Fixture> & {
 *   target: { port: number, host: string },
 *   workers: { id: number, pid: number }[],
 * }} Lifecycle
 */

/**
 * Runs `fixtures/lifecycle.js`; see there for its variables and its commands.
 * @template T
 * @param {Record<string, string>} env
 * @param {(app: Lifecycle) => Promise<T>} body
 */
function withLifecycle(env, body) {
  return withFixture('lifecycle.js', { env }, async (fixture) => {
    const app = /** @type {Lifecycle} */ (fixture);
    app.workers = [];
    for (let count = Number(env.WORKERS ?? 2); count > 0; count--) {
      const { id, pid, port, address } = await app.marker('listening');
      app.target = { port, host: address };
      app.workers.push({ id, pid });
    }
    app.workers.sort((a, b) => a.id - b.id);
    return body(app);
  });
}

/** A client that keeps one connection for as long as the server lets it. */
class Client {
  /**
   * @param {{ port: number, host: string }} target
   * @param {boolean} [secure]
   */
  constructor(target, secure = false) {
    this.module = secure ? https : http;
    this.agent = new this.module.Agent({ keepAlive: true, maxSockets: 1 });
    this.options = {
      ...target,
      agent: this.agent,
      ...(secure && { ca: certificate, servername: 'localhost' }),
    };
  }

  /**
   * @param {string} [path]
   * @returns {Promise<{ status: number, connection: string, text: string, port: number }>} `port` distinguishes connections
   */
  get(path = '/') {
    return new Promise((resolve, reject) => {
      const request = this.module.request({ ...this.options, path, method: 'POST' }, (response) => {
        const { localPort } = response.socket;
        let text = '';
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk;
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode,
            connection: response.headers.connection,
            text,
            port: localPort,
          }),
        );
      });
      let port = NaN;
      request.on('socket', (socket) => {
        if (socket.connecting) socket.once('connect', () => (port = socket.localPort));
        else port = socket.localPort;
      });
      request.on('error', (error) => {
        const { reusedSocket } = request;
        error.message += ` (${reusedSocket ? 'a kept' : 'a new'} connection, from port ${port}, at ${Date.now()})`;
        reject(error);
      });
      request.end('a body');
    });
  }

  close() {
    this.agent.destroy();
  }
}

/**
 * A client of a certain worker.
 * @param {Lifecycle} app
 * @param {number} id
 * @param {boolean} [secure]
 */
async function clientOf(app, id, secure) {
  for (;;) {
    const client = new Client(app.target, secure);
    const { text } = await client.get();
    if (text === String(id)) return client;
    client.close();
  }
}

/** Clients that keep their connections, each of which sends requests at its own intervals; every request is counted. */
class SteadyLoad {
  /**
   * @param {{ port: number, host: string }} target
   * @param {{ clients: number, interval: number, secure?: boolean, fresh?: boolean }} options `interval` in ms, on
   * average; `fresh`: each request has a connection of its own
   */
  constructor(target, { clients, interval, secure, fresh }) {
    this.sent = 0;
    /** @type {string[]} */
    this.failures = [];
    this.stopped = false;
    this.running = Promise.all(
      Array.from({ length: clients }, async () => {
        let client = new Client(target, secure);
        while (!this.stopped) {
          this.sent++;
          try {
            const { status, text } = await client.get();
            if (status !== 200 || !/^\d+$/.test(text)) this.failures.push(`${status} ${text}`);
          } catch (error) {
            this.failures.push(`${error.code} ${error.message}`);
          }
          if (fresh) {
            client.close();
            client = new Client(target, secure);
          }
          await pause(Math.random() * 2 * interval);
        }
        client.close();
      }),
    );
  }

  async stop() {
    this.stopped = true;
    await this.running;
    return this;
  }
}

module.exports = { withLifecycle, Client, clientOf, SteadyLoad };
