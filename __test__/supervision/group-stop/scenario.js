'use strict';

const { fork } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');

/**
 * How the signals arrive: which processes get one, after how many ms.
 *
 * @typedef {(target: { pid: number, workers: number[] }, kill: (pid: number, signal?: NodeJS.Signals) => void) => Promise<void>} Order
 */

/** @type {Record<string, Order>} */
const ORDERS = {
  // As the default `KillMode=control-group` of systemd, `tini -g`, `killall node` and the `stopasgroup` of supervisord do.
  group: async ({ pid }, kill) => kill(-pid),
  'primary first': async ({ pid, workers }, kill) => {
    kill(pid);
    await pause(Math.random() * 100);
    for (const worker of workers) kill(worker);
  },
  'workers first': async ({ pid, workers }, kill) => {
    for (const worker of workers) kill(worker);
    await pause(Math.random() * 100);
    kill(pid);
  },
  'several times': async ({ pid, workers }, kill) => {
    kill(-pid);
    for (let count = 0; count < 5; count++) {
      await pause(Math.random() * 200);
      for (const worker of workers) kill(worker);
    }
  },
  // Ctrl-C in a terminal.
  terminal: async ({ pid }, kill) => kill(-pid, 'SIGINT'),
};

/**
 * A client that sends requests until it is refused.
 *
 * @param {number} port
 * @param {http.Agent | false} agent
 * @param {{ answered: number, cut: string[], stopped: boolean }} result
 */
async function client(port, agent, result) {
  while (!result.stopped) {
    let connected = false;
    const outcome = await new Promise((resolve) => {
      const request = http.get({ port, host: '127.0.0.1', agent }, (response) => {
        let text = '';
        response.on('data', (chunk) => (text += chunk));
        response.on('end', () => resolve(text));
        response.on('error', ({ code, message }) => resolve(new Error(`${code} ${message}`)));
      });
      request.on('socket', (socket) => {
        connected = !socket.connecting;
        socket.once('connect', () => (connected = true));
      });
      request.on('error', ({ code, message }) => resolve(new Error(`${code} ${message}`)));
    });
    if (outcome === 'served') {
      result.answered++;
      continue;
    }
    // No process listens any more, and this client was not connected.
    if (!connected && /ECONNREFUSED/.test(outcome.message)) return;
    result.cut.push(`${agent ? 'kept' : 'new'}: ${outcome.message ?? outcome}`);
    return;
  }
}

/**
 * Stops an application under load, once.
 *
 * @param {object} options
 * @param {string} options.order one of ORDERS
 * @param {number} options.takes how long a request takes, in ms
 * @param {number} [options.clients] how many of each kind there are
 * @param {object} [options.supervise] options of supervise()
 * @returns {Promise<{ answered: number, cut: string[], code: number | null, signal: string | null }>}
 */
async function stopUnderLoad({ order, takes, clients = 12, supervise = {} }) {
  const app = fork(path.join(__dirname, 'app.js'), {
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, TAKES: `${takes}`, OPTIONS: JSON.stringify({ workers: 2, ...supervise }) },
  });
  const exited = once(app, 'exit');
  const pid = /** @type {number} */ (app.pid);
  const agent = new http.Agent({ keepAlive: true });
  try {
    const [{ port, workers }] = await once(app, 'message');
    const result = { answered: 0, cut: /** @type {string[]} */ ([]), stopped: false };
    const running = Promise.all(
      Array.from({ length: 2 * clients }, async (_, index) => {
        // Spreads the requests of the clients over time.
        await pause((takes * index) / (2 * clients));
        await client(port, index % 2 === 0 ? agent : false, result);
      }),
    );
    await pause(takes * (1.2 + Math.random()));
    await ORDERS[order]({ pid, workers }, (to, signal = 'SIGTERM') => {
      try {
        process.kill(to, signal);
      } catch (error) {
        // It has ended already.
        if (error.code !== 'ESRCH') throw error;
      }
    });
    const [code, signal] = await exited;
    result.stopped = true;
    await running;
    return { answered: result.answered, cut: result.cut, code, signal };
  } finally {
    agent.destroy();
    if (app.exitCode === null && app.signalCode === null) process.kill(-pid, 'SIGKILL');
  }
}

module.exports = { ORDERS, stopUnderLoad };
