'use strict';

const http = require('node:http');
const net = require('node:net');
const { DEADLINE, until } = require('./processes.js');

/**
 * The outcome of a client: `answered` received bytes and then the end; `closed` received the end, or a reset, and no
 * byte; `refused` was never connected; `hung` received neither an answer nor an end.
 * @typedef {{ outcome: 'answered' | 'closed' | 'refused' | 'hung', text: string, code?: string }} Result
 */

/**
 * Connects, sends the request if there is one, and reads to the end. `connected` is settled as soon as the
 * kernel has completed the connection, whether or not it is accepted, with the local port, or has failed to.
 * @param {net.NetConnectOpts} target
 * @param {string} [send]
 * @param {number} [deadline] in ms, after which the client counts as hung
 * @returns {Promise<Result> & { connected: Promise<number | undefined> }}
 */
function exchange(target, send, deadline = DEADLINE / 2) {
  const socket = net.connect(target);
  const connected = new Promise((resolve) => {
    socket.once('connect', () => resolve(socket.localPort));
    socket.once('close', () => resolve(undefined));
  });
  let isConnected = false;
  let text = '';
  let code;
  let hung = false;
  socket.once('connect', () => {
    isConnected = true;
    if (send !== undefined) socket.write(send);
  });
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', (error) => {
    code = /** @type {any} */ (error).code;
  });
  const timer = setTimeout(() => {
    hung = true;
    socket.destroy();
  }, deadline);
  /** @type {Promise<Result>} */
  const result = new Promise((resolve) => {
    socket.on('close', () => {
      clearTimeout(timer);
      // A reset means that the connection was made, even if this process has not noticed that yet.
      const wasConnected = isConnected || code === 'ECONNRESET';
      const outcome = hung ? 'hung' : text && !code ? 'answered' : wasConnected ? 'closed' : 'refused';
      resolve({ outcome, text, code });
    });
  });
  return Object.assign(result, { connected });
}

/**
 * A client that is connected, has received the first bytes from the server, and stays connected until `close()` is called.
 * @param {net.NetConnectOpts} target
 * @returns {{ socket: net.Socket, connected: Promise<void>, text: Promise<string>, close: () => Promise<void> }}
 */
function hold(target) {
  const socket = net.connect(target);
  const closed = new Promise((resolve) => {
    socket.once('close', resolve);
  });
  const connected = new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  const text = new Promise((resolve, reject) => {
    socket.setEncoding('utf8').once('data', resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed before the first words')));
  });
  // If a caller does not await one of these, the others report the failure.
  connected.catch(() => {});
  text.catch(() => {});
  return {
    socket,
    connected,
    text,
    close: () => {
      socket.destroy();
      return closed;
    },
  };
}

/**
 * One HTTP request on a connection of its own.
 * @param {http.RequestOptions & { ca?: string, module?: typeof http | typeof import('node:https') }} options
 * @param {string} [body]
 * @returns {Promise<{ status: number, headers: http.IncomingHttpHeaders, body: string }>}
 */
function get({ module = http, ...options }, body) {
  return new Promise((resolve, reject) => {
    const request = module.request({ agent: false, ...options }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode, headers: response.headers, body: text }),
      );
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/**
 * The outcome of the n-th of several clients, and its port.
 * @typedef {Result & { number: number, port: number | undefined }} Outcome
 */

/** Clients that connect one after another, several at a time, until they are stopped; each is counted. */
class Load {
  /**
   * @param {net.NetConnectOpts} target
   * @param {number} abreast the number of simultaneous clients
   * @param {(number: number) => string} request what the n-th client sends
   */
  constructor(target, abreast, request) {
    /** @type {Outcome[]} */
    this.results = [];
    this.stopped = false;
    let next = 0;
    const client = async () => {
      while (!this.stopped) {
        const number = next++;
        const client = exchange(target, request(number));
        const port = await client.connected;
        this.results.push({ number, port, ...(await client) });
      }
    };
    this.clients = Promise.all(Array.from({ length: abreast }, client));
  }

  /** @returns {Promise<Record<Result['outcome'], Outcome[]>>} */
  async stop() {
    this.stopped = true;
    await this.clients;
    const byOutcome = { answered: [], closed: [], refused: [], hung: [] };
    for (const result of this.results) byOutcome[result.outcome].push(result);
    return byOutcome;
  }
}

/**
 * Kills workers under load, one at a time: after every hundred clients a random one, once the last one has
 * been replaced.
 * @param {{ target: net.NetConnectOpts, workers: { id: number, pid: number }[], marker: (name: string) => Promise<any> }} app
 *   that replaces its workers
 * @param {number} kills
 * @param {number} abreast the number of simultaneous clients
 * @param {(number: number) => string} request what the n-th client sends
 */
async function killUnderLoad(app, kills, abreast, request) {
  const alive = [...app.workers];
  const load = new Load(app.target, abreast, request);
  let seen = 0;
  for (let kill = 0; kill < kills; kill++) {
    await until('the clients get on', () => load.results.length >= seen + 100);
    seen = load.results.length;
    const [victim] = alive.splice(Math.floor(Math.random() * alive.length), 1);
    process.kill(victim.pid, 'SIGKILL');
    const { id } = await app.marker('exit');
    if (id !== victim.id) throw new Error(`worker ${id} has ended and not ${victim.id}, which was killed`);
    alive.push(await app.marker('listening'));
  }
  return { ...(await load.stop()), count: load.results.length };
}

module.exports = { exchange, hold, get, Load, killUnderLoad };
