'use strict';

const EventEmitter = require('node:events');
const os = require('node:os');
const { Error, JSON, Map, Object, Promise, monotonic, process } = require('../../globals');

const { createExitHold, listenBeside } = require('../../seam/signals');
const { History } = require('./history');
const { Log } = require('./log');
const { hasSourceMaps, mapStack } = require('./source-maps');
const { fields, time, whole, MOST_WORKERS } = require('./options');

/**
 * What carries supervision out: the native part, or what stands in for it where there is none.
 * @typedef {Pick<import('../../../binding').Supervisor, 'supervise' | 'reload' | 'scale' | 'shutdown' | 'force' | 'stats'>} Native
 * @typedef {Pick<InstanceType<typeof import('../supervision').Supervision>, 'audience' | 'hold' | 'release' | 'report'>
 *   & { native: Native }} Supervision
 *
 * @typedef {import('./options').Complete} Options
 * @typedef {import('../../../index').Worker} Worker
 * @typedef {{ resolve: () => void, reject: (error: Error) => void }} Waiting
 *
 * What the supervisor needs of the cluster object that it belongs to.
 * @typedef {{
 *   supervision: Supervision,
 *   workerOf: (id: number) => Worker | undefined,
 *   promote: (id: number, slot: number) => void,
 *   template: (count: number) => import('../../../binding').SpawnOptions,
 *   expectMore: (count: number) => void,
 *   told: () => Promise<void>,
 *   execArgv: () => readonly unknown[],
 * }} Cluster
 */

const SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT']);

/** Within so many ms it is the same Ctrl-C: npm passes on what the terminal has sent to everybody already. */
const SAME = 500;

/** The names of the signals by number. */
const signalNames = new Map(
  Object.entries(os.constants.signals)
    .toReversed()
    .map(([name, number]) => [number, name]),
);

/**
 * The app's view of supervision, which runs on a native thread: questions go there, decisions come back as events.
 */
class Supervisor extends EventEmitter {
  /** @type {Cluster} */
  #cluster;
  /** @type {Options} */
  #options;
  /** @type {Map<number, Waiting>} */
  #waiting = new Map();
  #lastRequest = 0;
  #log;
  #history = new History();
  /** @type {Promise<void> | undefined} the one that is running */
  #reload;
  /** @type {Promise<void> | undefined} */
  #shutdown;
  /** Whether the shutdown has been announced and not begun. */
  #isWaiting = false;
  /** @type {NodeJS.Signals | undefined} */
  #signal;
  #signalledAt = 0;
  /** @type {(() => void)[]} each ends listening for a signal */
  #deaf = [];
  /** A library that cleans up after a signal, and then ends the process, does not end it before the workers have ended. */
  #exits = createExitHold([...SIGNALS], (code) => {
    if (code !== undefined && code !== null) process.exitCode = code;
  });
  #holds = true;
  /** @type {() => void} */
  #close = () => {};

  /** Resolves when the cluster has been shut down and all workers are gone. */
  closed = new Promise((/** @type {(value: void) => void} */ resolve) => (this.#close = () => resolve()));

  /**
   * The workers by slot; where there is none at the moment, undefined.
   * @type {(Worker | undefined)[]}
   */
  workers = [];

  /**
   * @param {Cluster} cluster
   * @param {Options} options
   */
  constructor(cluster, options) {
    super();
    this.#cluster = cluster;
    this.#options = options;
    this.#log = new Log(options.log);
    this.workers.length = options.workers;
    // Between two workers there may be none, and nothing else that keeps the primary.
    cluster.supervision.hold();
    if (options.signals) {
      this.#deaf = SIGNALS.map((signal) => listenBeside(signal, () => this.#onSignal(signal)));
    }
  }

  /**
   * Has that many workers.
   * @param {number} workers
   * @returns {Promise<void>} Resolves when new ones are ready, or those that are too many are gone. It is rejected for a
   * wrong number, too.
   */
  async scale(workers) {
    whole('workers', workers, 1, MOST_WORKERS);
    return this.#ask((native, request) => {
      this.#cluster.expectMore(workers - this.#stats().workers);
      native.scale(workers, request);
    });
  }

  /**
   * Replaces all workers by new ones, with the environment, the settings and the files as they are now. Joins a reload
   * that is running.
   * @param {{ concurrency?: number }} [options]
   * @returns {Promise<void>}
   */
  async reload(options = {}) {
    const { concurrency } = fields('options', options, { concurrency: this.#options.reloadConcurrency });
    whole('options.concurrency', concurrency, 1, MOST_WORKERS);
    // What workers are started with is described once for each reload, so one that joins another does not change it.
    this.#reload ??= this.#ask((native, request) => {
      const { workers } = this.#stats();
      native.reload(this.#cluster.template(workers + this.#options.standby), concurrency, request);
    }).finally(() => (this.#reload = undefined));
    return this.#reload;
  }

  /**
   * Drains all workers. Called once more while it waits for `delay`, it waits no longer.
   * @param {{ timeout?: number, delay?: number }} [options]
   * @returns {Promise<void>} Resolves when they are gone.
   */
  async shutdown(options = {}) {
    const { timeout, delay } = fields('options', options, {
      timeout: this.#options.shutdownTimeout,
      delay: 0,
    });
    time('options.timeout', timeout, 0);
    time('options.delay', delay, 0);
    const ended = this.#ask((native, request) => native.shutdown(delay, timeout, request));
    if (this.#shutdown === undefined) {
      this.#isWaiting = delay > 0;
      this.#shutdown = ended.then(() => this.#cluster.told()).then(() => this.#end());
    } else {
      // It has the same end as the first one, or is refused because that has come.
      ended.catch(() => {});
    }
    return this.#shutdown;
  }

  /** How the cluster stands. */
  stats() {
    const { slots, ...stats } = this.#stats();
    return {
      ...stats,
      slots: slots.map((/** @type {any} */ slot) => this.#history.describe(slot)),
      scheduling: this.#cluster.supervision.report(),
    };
  }

  /** @param {Worker} worker */
  onSpawned(worker) {
    this.#history.onSpawned(worker);
  }

  #stats() {
    return JSON.parse(/** @type {string} */ (this.#cluster.supervision.native.stats()));
  }

  /**
   * @param {(native: Native, request: number) => void} ask
   * @returns {Promise<void>}
   */
  #ask(ask) {
    return new Promise((resolve, reject) => {
      // Nothing holds the primary any more until an answer comes.
      if (!this.#holds && this.#shutdown !== undefined) {
        reject(failed('ERR_RCLUSTER_SHUT_DOWN', 'the cluster is shut down'));
        return;
      }
      const request = ++this.#lastRequest;
      ask(this.#cluster.supervision.native, request);
      this.#waiting.set(request, { resolve, reject });
    });
  }

  /**
   * What the native side has to say.
   * @param {any} message
   */
  hear(message) {
    switch (message.type) {
      case 'event':
        this.#onEvent(message.name, message.facts);
        break;
      case 'answer':
        this.#onAnswer(message);
        break;
      default:
        // It has given up, as the app wanted it to.
        void this.#cluster.told().then(() => {
          this.#end();
          process.exit(message.code);
        });
    }
  }

  /**
   * @param {string} name
   * @param {Record<string, any>} facts
   */
  #onEvent(name, facts) {
    const worker = typeof facts.worker === 'number' ? this.#cluster.workerOf(facts.worker) : undefined;
    if (typeof facts.worker === 'number') {
      facts.pid = worker?.process.pid ?? this.#history.pidOf(facts.worker);
    }
    if (typeof facts.stack === 'string' && hasSourceMaps(this.#cluster.execArgv(), process.env)) {
      facts.stack = mapStack(facts.stack);
    }
    this.#history.onEvent(name, facts, worker?.isDead() === false);
    if (typeof facts.signal === 'number') facts.signal = signalNames.get(facts.signal) ?? facts.signal;
    if (name === 'promote') this.#cluster.promote(facts.worker, facts.slot);
    if ((name === 'spawn' || name === 'promote') && facts.slot !== null) this.workers[facts.slot] = worker;
    if (name === 'shutdown' || name === 'stopping') facts.signal = this.#signal ?? null;
    if (name === 'shutdown') this.#isWaiting = false;
    if (name === 'stopped') this.#releaseIfStopped();
    this.#log.on(name, facts);
    this.emit(name, facts);
  }

  /** @param {{ request: number, failure: { code: string, message: string } | null }} answer */
  #onAnswer({ request, failure }) {
    const waiting = this.#waiting.get(request);
    this.#waiting.delete(request);
    if (failure === null) waiting?.resolve();
    else waiting?.reject(failed(failure.code, failure.message));
  }

  /** When by the policy no worker will ever be started again, there is nothing to stay for. */
  #releaseIfStopped() {
    const { slots } = this.#stats();
    if (slots.every((/** @type {{ state: string }} */ { state }) => state === 'stopped')) this.#release();
  }

  #release() {
    if (this.#holds) this.#cluster.supervision.release();
    this.#holds = false;
  }

  #end() {
    this.#log.end();
    // After a signal the process exits, and the same signal once more does not end it before it has.
    if (this.#signal === undefined) for (const stop of this.#deaf) stop();
    this.#exits.release();
    this.#release();
    this.#close();
  }

  /** @param {NodeJS.Signals} signal */
  #onSignal(signal) {
    this.#exits.hold();
    const isFirst = this.#signal === undefined;
    if (!isFirst && signal === this.#signal && monotonic() - this.#signalledAt < SAME) return;
    this.#signal = signal;
    this.#signalledAt = monotonic();
    if (isFirst) {
      const delay = signal === 'SIGTERM' ? this.#options.shutdownDelay : 0;
      // What went wrong is told by the exit code: shutting down itself does not fail.
      void this.shutdown({ delay }).then(() => process.exit());
    } else if (this.#isWaiting) {
      void this.shutdown();
    } else {
      process.exitCode = 128 + os.constants.signals[signal];
      this.#cluster.supervision.native.force();
    }
  }
}

/**
 * @param {string} code
 * @param {string} message
 */
function failed(code, message) {
  return Object.assign(new Error(message), { code });
}

module.exports = { Supervisor };
