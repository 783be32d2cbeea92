'use strict';

const { constants } = require('node:os');
const { Error, JSON, Map, Object, process, setImmediate } = require('../globals');
const { noReport } = require('../extras');
const { loadBinding, packageFiles } = require('../load-binding');
const { later } = require('../later');
const { inRootContext } = require('../root-context');

/** @type {() => typeof import('../examine')} */
const examine = later('examine');
/** @type {() => typeof import('./report')} */
const report = later('primary/report');

/**
 * @typedef {import('../../binding').Primary} Primary
 * @typedef {import('../../binding').ExitEvent} ExitEvent
 * @typedef {import('../../binding').WarningEvent} WarningEvent
 * @typedef {import('../../binding').FailureEvent} FailureEvent
 * @typedef {import('../../binding').SpawnedEvent} SpawnedEvent
 * @typedef {import('../../binding').OrphansEvent} OrphansEvent
 * @typedef {import('../../binding').SupervisionEvent} SupervisionEvent
 * @typedef {import('../../binding').HookEvent} HookEvent
 * @typedef {import('../../binding').ExamineEvent} ExamineEvent
 * @typedef {import('./scheduling').Schedule} Schedule
 *
 * The receiver of events of supervision.
 * @typedef {{ onSpawned: (event: SpawnedEvent) => void, onMessage: (message: any) => void }} Audience
 */

/** How long the exit of this process waits, in ms, for the reader of the workers' output. */
const FLUSH_LIMIT = 1000;

/** @param {string | undefined} code the name of an error of the system @returns {number | undefined} its number */
function errnoOf(code) {
  return Object.entries(constants.errno).find(([name]) => name === code)?.[1];
}

/**
 * The native part of a primary, with or without supervision. Its threads are started at the first spawn: a process
 * that never forks starts none, and the scheduling policy is known only then.
 */
class NativePrimary {
  /** @type {() => Schedule} */
  #readScheduling;

  /**
   * The scheduling, once it is final.
   * @type {Schedule | undefined}
   */
  scheduling;

  /** @type {Primary | undefined} */
  #primary;

  /**
   * The callbacks for the exits of living workers, by id.
   * @type {Map<number, (code: number, signal: number) => void>}
   */
  #living = new Map();

  #holds = 0;

  /** @type {Audience | undefined} */
  audience;

  /** @type {() => InstanceType<typeof import('./hook').HookAnswers>} */
  #createAnswers;

  /** @type {InstanceType<typeof import('./hook').HookAnswers> | undefined} once a hook has been asked */
  #answers;

  /**
   * @param {() => Schedule} readScheduling Called when the threads are started, at the first spawn.
   * @param {() => InstanceType<typeof import('./hook').HookAnswers>} createAnswers
   */
  constructor(readScheduling, createAnswers) {
    this.#readScheduling = readScheduling;
    this.#createAnswers = createAnswers;
  }

  /**
   * @param {import('../../binding').SpawnOptions} options
   * @param {(code: number, signal: number) => void} onExit Called once, later, if a process was started.
   */
  spawn(options, onExit) {
    const spawned = this.primary.spawn(options);
    if (spawned.errno === 0) this.adopt(options.id, onExit);
    return spawned;
  }

  /** The object of the native part, which is started when it is first needed. */
  get primary() {
    this.#primary ??= this.#start();
    return this.#primary;
  }

  /**
   * @param {number} id
   * @param {(code: number, signal: number) => void} onExit Called once, later.
   */
  adopt(id, onExit) {
    this.#living.set(id, onExit);
  }

  /**
   * Whether a supervised worker is leaving, or has left, intentionally.
   * @param {number} id
   */
  isLeaving(id) {
    return this.#primary !== undefined && this.#primary.isLeaving(id);
  }

  #start() {
    const { Primary } = loadBinding();
    const scheduling = this.#readScheduling();
    const plans = JSON.stringify(scheduling.plans);
    try {
      const start = () => new Primary(plans, packageFiles(), (event) => this.#onEvent(event));
      const primary = inRootContext(start);
      this.scheduling = scheduling;
      return primary;
    } catch (error) {
      const failure = /** @type {NodeJS.ErrnoException} */ (error);
      const errno = errnoOf(failure.code);
      throw errno === undefined ? error : Object.assign(failure, { errno: -errno });
    }
  }

  /**
   * The counts of connections so far.
   * @returns {import('../../index').SchedulingStats}
   */
  report() {
    const primary = this.#primary;
    return primary
      ? report().readReport(primary.report(), /** @type {Schedule} */ (this.scheduling))
      : noReport();
  }

  /**
   * @param {number} id
   * @param {number} signal
   * @returns {number} 0 or a negative errno.
   */
  kill(id, signal) {
    return /** @type {Primary} */ (this.#primary).kill(id, signal);
  }

  /**
   * The worker no longer serves: it is removed from its listeners, and listeners without members are closed.
   * @param {number} id
   */
  leave(id) {
    this.#primary?.leave(id);
  }

  /**
   * Drains the worker: it takes no more connections, finishes and exits. The order goes over the control
   * socket, so neither side's JavaScript must be idle for it to arrive.
   * @param {number} id
   * @param {string} reason
   * @param {number} timeout in ms
   */
  drain(id, reason, timeout) {
    this.#primary?.drain(id, reason, timeout);
  }

  /**
   * Waits until everything that the worker has requested of the control thread so far is done. Its IPC
   * messages use another channel, and may be faster.
   * @param {number} id
   */
  flush(id) {
    this.#primary?.flush(id);
  }

  /**
   * Opens addresses and forwards them to the workers spawned from now on.
   * @param {import('../../binding').ForwardSpec[]} specs
   */
  forward(specs) {
    return this.primary.forward(specs);
  }

  /** Removes the Unix sockets of workers that listen on addresses of their own. */
  removeSockets() {
    this.#primary?.removeSockets();
  }

  /** Writes the workers' last output. A reader that does not read delays this only for FLUSH_LIMIT. */
  flushLogs() {
    this.#primary?.flushLogs(FLUSH_LIMIT);
  }

  /** @returns {import('../../binding').ForwardReport[]} */
  forwarding() {
    return this.#primary?.forwarding() ?? [];
  }

  /**
   * The app has been notified of the worker's exit, and could have forked a replacement.
   * @param {number} id
   */
  onExitReported(id) {
    this.#primary?.onExitReported(id);
  }

  /** One more living child keeps the event loop alive. */
  hold() {
    // Counted only afterwards: it may fail, for lack of descriptors.
    if (this.#holds === 0) this.primary.ref();
    this.#holds++;
  }

  release() {
    if (--this.#holds === 0) this.primary.unref();
  }

  /** @param {ExitEvent | WarningEvent | FailureEvent | SpawnedEvent | SupervisionEvent | HookEvent | OrphansEvent | ExamineEvent} event */
  #onEvent(event) {
    switch (event.kind) {
      case 'exit':
        this.#onExit(event);
        break;
      case 'warning':
        process.emitWarning(event.message, { code: event.code });
        break;
      case 'spawned':
        this.audience?.onSpawned(event);
        break;
      case 'hook':
        this.#answer(JSON.parse(event.text));
        break;
      case 'orphans':
        this.#primary?.reapOrphans(event.pids);
        break;
      case 'examine':
        void examine().examine(JSON.parse(event.text), event.fd);
        break;
      case 'supervision':
        this.audience?.onMessage(JSON.parse(event.text));
        break;
      default:
        fail(event.message);
    }
  }

  /** @param {import('./hook').HookBatch} batch */
  #answer(batch) {
    const { hooks } = /** @type {Schedule} */ (this.scheduling);
    this.#answers ??= this.#createAnswers();
    this.#primary?.answer(batch.batch, this.#answers.to(hooks, batch));
  }

  /** @param {ExitEvent} event */
  #onExit({ id, code, signal }) {
    const onExit = this.#living.get(id);
    this.#living.delete(id);
    onExit?.(code, signal);
  }
}

/**
 * Without its native part a primary neither serves nor notices that workers die, and only a new process can
 * recover. So this throws an exception that only process.on('uncaughtException') can catch.
 * @param {string} message
 */
function fail(message) {
  setImmediate(() => {
    throw Object.assign(new Error(`rcluster has failed: ${message}`), { code: 'ERR_RCLUSTER_FAILED' });
  });
}

module.exports = { NativePrimary };
