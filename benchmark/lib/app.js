'use strict';

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { once } = require('node:events');
const { fork } = require('node:child_process');
const { setTimeout: delay } = require('node:timers/promises');
const { membersOf } = require('../../testing/processes.js');

const READY_WITHIN = 30_000;
const STOPPED_WITHIN = 10_000;

/**
 * The counts of a process since its start; `cpu` is in microseconds.
 * @typedef {{ pid: number, connections: number, requests: number, open: number, cpu: number }} WorkerReport
 */
/** @typedef {{ primary: { pid: number, cpu: number }, workers: WorkerReport[] }} Report */

/** The running apps, which end with the benchmark. @type {Set<App>} */
const running = new Set();

process.on('exit', () => {
  for (const app of running) app.killGroup();
});
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => process.exit(1));
}

/**
 * @typedef {object} AppOptions
 * @property {string} [fixture] file in fixtures/
 * @property {number} workers how many
 * @property {string[]} [execArgv] options of Node for the primary, which passes them on
 * @property {Record<string, string>} [env] more than the contestant's own
 */

/** A cluster under test, in a process group of its own. */
class App {
  #child;
  #exited;
  #asks = 0;
  /** @type {Map<number, { resolve: (answer: any) => void, reject: (reason: Error) => void }>} */
  #waiting = new Map();
  /** The primary. */
  pid;
  /** The workers. @type {number[]} */
  pids = [];
  /** From the first fork() until all workers were listening, in ms. */
  took = 0;
  port;

  /**
   * Starts a cluster and resolves when all its workers are listening.
   * @param {import('./contestants').Contestant} contestant
   * @param {AppOptions} options
   */
  static async start(contestant, { fixture = 'server.js', workers, execArgv = [], env }) {
    const port = await freePort();
    const child = fork(path.join(__dirname, '..', 'fixtures', fixture), {
      // A process group of its own, so that it can be inspected, and killed in an emergency, as a whole.
      detached: true,
      execArgv,
      env: {
        ...process.env,
        ...contestant.env,
        ...env,
        BENCH_CLUSTER: contestant.module,
        BENCH_PORT: String(port),
        BENCH_WORKERS: String(workers),
      },
    });
    await once(child, 'spawn');
    const app = new App(contestant.id, child, port);
    running.add(app);
    const { pids, took } = await bounded(
      app.#answer(0),
      READY_WITHIN,
      `${contestant.id} was not ready in time`,
    );
    app.pids = pids;
    app.took = took;
    return app;
  }

  /**
   * @param {string} name for messages
   * @param {import('node:child_process').ChildProcess} child
   * @param {number} port
   */
  constructor(name, child, port) {
    this.#child = child;
    this.#exited = once(child, 'exit');
    this.pid = /** @type {number} */ (child.pid);
    this.port = port;
    child.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${name} ended (${code ?? signal})`));
      this.#waiting.clear();
    });
    child.on('message', (/** @type {any} */ message) => {
      const id = message.ready ? 0 : message.ask;
      this.#waiting.get(id)?.resolve(message);
      this.#waiting.delete(id);
    });
  }

  /** @param {number} id */
  #answer(id) {
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /**
   * Sends the app a command; resolves with its answer.
   * @param {string} cmd
   * @param {object} [details]
   * @returns {Promise<any>}
   */
  ask(cmd, details = {}) {
    const ask = ++this.#asks;
    const answer = this.#answer(ask);
    this.#child.send({ cmd, ask, ...details });
    return bounded(answer, READY_WITHIN, `the app did not answer '${cmd}' in time`);
  }

  /**
   * The counts of the workers, read when no connection is open any more.
   * @param {{ collect?: boolean }} [options]
   * @returns {Promise<Report>}
   */
  async settled(options) {
    for (let waited = 0; ; waited += 20) {
      /** @type {Report} */
      const report = await this.ask('report', options);
      if (report.workers.every(({ open }) => open === 0)) return report;
      if (waited > READY_WITHIN) throw new Error('connections of a load that has ended stay open');
      await delay(20);
    }
  }

  /** Ends the app; anything but a clean end of all its processes is an error. */
  async stop() {
    this.#child.send({ cmd: 'stop' });
    const [code, signal] = await bounded(this.#exited, STOPPED_WITHIN, 'the app did not stop in time');
    if (code !== 0) throw new Error(`the app ended with ${code ?? signal}`);
    const orphans = membersOf(this.pid);
    if (orphans.length > 0) throw new Error(`the app left processes behind: ${orphans.join(', ')}`);
    running.delete(this);
  }

  killGroup() {
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ESRCH') throw error;
    }
  }
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @param {string} message
 * @returns {Promise<T>}
 */
async function bounded(promise, ms, message) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(message)), ms);
  });
  try {
    return await Promise.race([promise, /** @type {Promise<never>} */ (late)]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A free port below the range from which the kernel assigns the ports of clients: a cluster that closes its
 * listener for a moment must not find the port taken by one of its own clients when it listens again.
 * @returns {Promise<number>}
 */
async function freePort() {
  const ephemeral = Number(fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split('\t')[0]);
  for (let tries = 0; tries < 100; tries++) {
    const port = 10_000 + Math.floor(Math.random() * (ephemeral - 10_000));
    const server = net.createServer().listen({ port, host: '127.0.0.1' });
    try {
      await once(server, 'listening');
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EADDRINUSE') continue;
      throw error;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error('found no free port');
}

module.exports = { App, bounded };
