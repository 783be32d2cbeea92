'use strict';

const EventEmitter = require('node:events');
const os = require('node:os');
const { Error, JSON, Map, Object, Promise, monotonic, process } = require('../../globals');

const { createExitHold, listenBeside } = require('../../seam/signals');
const { History } = require('./history');
const { Log } = require('./log');
const { signalNames } = require('../../signal-names');
const { hasSourceMaps, mapStack } = require('./source-maps');
const { MOST_WORKERS } = require('./options');
const { fields, time, whole } = require('./rules');

/**
 * The implementation of supervision: the native part, or the fallback without it.
 * @typedef {Pick<import('../../../binding').Primary, 'supervise' | 'reload' | 'scale' | 'shutdown' | 'force' | 'stats'>} Native
 * @typedef {Pick<InstanceType<typeof import('../native').NativePrimary>, 'audience' | 'hold' | 'release' | 'report' | 'removeSockets' | 'flushLogs'>
 *   & { primary: Native }} NativePrimary
 *
 * @typedef {import('./options').Complete} Options
 * @typedef {import('../../../index').Worker} Worker
 * @typedef {{ resolve: () => void, reject: (error: Error) => void }} Waiting
 * @typedef {{ code: string, message: string, stderrTail?: string[] | null }} Failure
 *
 * The parts of the cluster object that the supervisor uses.
 * @typedef {{
 *   native: NativePrimary,
 *   workerOf: (id: number) => Worker | undefined,
 *   promote: (id: number, slot: number) => void,
 *   template: (count: number) => import('../../../binding').SpawnOptions,
 *   expectMore: (count: number) => void,
 *   told: () => Promise<void>,
 *   execArgv: () => readonly unknown[],
 * }} Cluster
 */

const SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGQUIT']);

/**
 * Signals within this time, in ms, count as one Ctrl-C: npm forwards a signal that the terminal has already
 * sent to all processes.
 */
const SAME = 500;

/**
 * The app's interface to supervision, which runs on a native thread: requests go there, and its decisions
 * return as events.
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
  /** @type {Promise<void> | undefined} the reload in progress */
  #reload;
  /** @type {Promise<void> | undefined} */
  #shutdown;
  /** Whether the shutdown waits for its delay. */
  #isWaiting = false;
  /** @type {NodeJS.Signals | undefined} */
  #signal;
  #signalledAt = 0;
  /** @type {(() => void)[]} each stops listening for a signal */
  #deaf = [];
  /** Holds back the exit of a library that cleans up after a signal, until the workers have ended. */
  #exits = createExitHold([...SIGNALS], (code) => {
    if (code !== undefined && code !== null) process.exitCode = code;
  });
  /** Whether it keeps the primary alive. */
  #holds = false;
  #hasEnded = false;
  /** @type {() => void} */
  #close = () => {};

  /** Resolves when the cluster has been shut down and all workers are gone. */
  closed = new Promise((/** @type {(value: void) => void} */ resolve) => (this.#close = () => resolve()));

  /**
   * The workers by slot; undefined for a slot without one at the moment.
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
    this.#log = new Log(options.log, undefined, undefined, options.startUpLimit);
    this.workers.length = options.workers;
    // The primary lives even while no worker exists.
    this.#hold();
    if (options.signals) {
      this.#deaf = SIGNALS.map((signal) => listenBeside(signal, () => this.#onSignal(signal)));
    }
  }

  /**
   * Changes the number of workers.
   * @param {number} workers
   * @returns {Promise<void>} Resolves when new workers are ready, or surplus ones are gone. Also rejected for an
   * invalid number.
   */
  async scale(workers) {
    whole('workers', workers, 1, MOST_WORKERS);
    return this.#ask((native, request) => {
      this.#cluster.expectMore(workers - this.#stats().workers);
      native.scale(workers, request);
    });
  }

  /**
   * Replaces all workers by new ones, with the current environment, settings and files. Joins a reload that
   * is in progress.
   * @param {{ concurrency?: number }} [options]
   * @returns {Promise<void>}
   */
  async reload(options = {}) {
    const { concurrency } = fields('options', options, { concurrency: this.#options.reloadConcurrency });
    whole('options.concurrency', concurrency, 1, MOST_WORKERS);
    // The launch is described once for each reload, so a call that joins another does not change it.
    this.#reload ??= this.#ask((native, request) => {
      const { workers } = this.#stats();
      native.reload(this.#cluster.template(workers + this.#options.standby), concurrency, request);
    }).finally(() => (this.#reload = undefined));
    return this.#reload;
  }

  /**
   * Drains all workers. A second call during `delay` ends that wait.
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
      // It ends like the first one, or is refused because that one has ended.
      ended.catch(() => {});
    }
    return this.#shutdown;
  }

  /** The state of the cluster. */
  stats() {
    const { slots, lastExits, ...stats } = this.#stats();
    return {
      logs: null,
      ...stats,
      slots: slots.map((/** @type {any} */ slot) => this.#history.describe(slot, lastExits)),
      scheduling: this.#cluster.native.report(),
    };
  }

  /** @param {Worker} worker */
  onSpawned(worker) {
    this.#history.onSpawned(worker);
    worker.process.prependOnceListener('exit', () => this.#onExit(worker));
  }

  /** @param {Worker} worker */
  #onExit(worker) {
    const slot = this.workers.indexOf(worker);
    // A standby has no slot, and the slot of an old worker has a new one.
    if (slot === -1) return;
    this.workers[slot] = undefined;
    this.#removeSlots();
    // It may have been the last worker, in a slot that an operator has removed.
    if (this.workers.every((one) => one === undefined)) this.#holdWhileNeeded();
  }

  /** Removes the slots from `workers` that no longer exist, unless they still have a worker. */
  #removeSlots() {
    const isLastEmpty = () => this.workers.length > 0 && this.workers.at(-1) === undefined;
    // Asking the control thread takes time, and usually there is nothing to remove.
    if (!isLastEmpty()) return;
    const { workers } = this.#stats();
    while (this.workers.length > workers && isLastEmpty()) this.workers.length -= 1;
  }

  #stats() {
    return JSON.parse(/** @type {string} */ (this.#cluster.native.primary.stats()));
  }

  /**
   * @param {(native: Native, request: number) => void} ask
   * @returns {Promise<void>}
   */
  #ask(ask) {
    return new Promise((resolve, reject) => {
      if (this.#hasEnded) {
        reject(failed({ code: 'ERR_RCLUSTER_SHUT_DOWN', message: 'the cluster is shut down' }));
        return;
      }
      const request = ++this.#lastRequest;
      ask(this.#cluster.native.primary, request);
      this.#waiting.set(request, { resolve, reject });
      // Until the answer arrives.
      this.#hold();
    });
  }

  /**
   * Handles a message of the native side.
   * @param {any} message
   */
  onMessage(message) {
    switch (message.type) {
      case 'event':
        this.#onEvent(message.name, message.facts);
        break;
      case 'answer':
        this.#onAnswer(message);
        break;
      default:
        // Supervision has given up, and the option for that is to exit.
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
    if (typeof facts.signal === 'number') facts.signal = signalNames.get(facts.signal) ?? facts.signal;
    if (name === 'promote') this.#cluster.promote(facts.worker, facts.slot);
    if ((name === 'spawn' || name === 'promote') && facts.slot !== null) this.workers[facts.slot] = worker;
    if (name === 'shutdown' || name === 'stopping') facts.signal = this.#signal ?? null;
    if (name === 'shutdown') this.#isWaiting = false;
    if (name === 'follow') this.#removeSlots();
    // Once released, it holds again when an operator has a worker started.
    if (name === 'stopped' || !this.#holds) this.#holdWhileNeeded();
    this.#log.on(name, facts);
    this.emit(name, facts);
  }

  /** @param {{ request: number, failure: Failure | null }} answer */
  #onAnswer({ request, failure }) {
    // A slot without a worker may have been removed.
    this.#removeSlots();
    const waiting = this.#waiting.get(request);
    this.#waiting.delete(request);
    if (failure === null) waiting?.resolve();
    else waiting?.reject(failed(failure));
    this.#holdWhileNeeded();
  }

  /** Keeps the primary alive while a slot has a worker or will get one, and while a request is not answered. */
  #holdWhileNeeded() {
    // A shutdown releases it at its end.
    if (this.#hasEnded || this.#shutdown !== undefined) return;
    const isStopped = (/** @type {{ state: string }} */ { state }) => state === 'stopped';
    if (this.#waiting.size === 0 && this.#stats().slots.every(isStopped)) this.#release();
    else this.#hold();
  }

  #hold() {
    if (!this.#holds) this.#cluster.native.hold();
    this.#holds = true;
  }

  #release() {
    if (this.#holds) this.#cluster.native.release();
    this.#holds = false;
  }

  #end() {
    this.#hasEnded = true;
    this.#log.end();
    // After a signal the process exits, and a repeated signal must not end it earlier.
    if (this.#signal === undefined) for (const stop of this.#deaf) stop();
    this.#exits.release();
    this.#release();
    this.#close();
  }

  /**
   * Ends a supervisor whose supervision could not be started.
   * @param {Supervisor} supervisor
   */
  static abandon(supervisor) {
    supervisor.#end();
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
      // Failures are reported by the exit code: the shutdown itself does not fail.
      void this.shutdown({ delay }).then(() => process.exit());
    } else if (this.#isWaiting) {
      void this.shutdown();
    } else {
      process.exitCode = 128 + os.constants.signals[signal];
      this.#cluster.native.primary.force();
    }
  }
}

/** @param {Failure} failure */
function failed({ code, message, stderrTail }) {
  return Object.assign(new Error(message), { code, ...(stderrTail && { stderrTail }) });
}

module.exports = { Supervisor };
