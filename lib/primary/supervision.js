'use strict';

const { loadBinding } = require('../load-binding');

/**
 * @typedef {import('../../binding').Supervisor} Supervisor
 * @typedef {import('../../binding').ExitEvent} ExitEvent
 * @typedef {import('../../binding').WarningEvent} WarningEvent
 * @typedef {import('../../binding').FailureEvent} FailureEvent
 */

/**
 * A cluster's hold on the native supervisor. It exists from the first spawn on: a process that never forks starts no
 * native thread, and the scheduling policy is known only then.
 */
class Supervision {
  /** @type {() => string} */
  #readScheduling;

  /**
   * How connections are distributed, once that is settled: as JSON.
   * @type {string | undefined}
   */
  scheduling;

  /** @type {Supervisor | undefined} */
  #supervisor;

  /**
   * Whom to tell that a worker is gone, by the id of the worker.
   * @type {Map<number, (code: number, signal: number) => void>}
   */
  #living = new Map();

  #holds = 0;

  /** @param {() => string} readScheduling Asked once, at the first spawn. */
  constructor(readScheduling) {
    this.#readScheduling = readScheduling;
  }

  /**
   * @param {import('../../binding').SpawnOptions} options
   * @param {(code: number, signal: number) => void} onExit Called once, later, if a process was started.
   */
  spawn(options, onExit) {
    this.#supervisor ??= this.#start();
    const spawned = this.#supervisor.spawn(options);
    if (spawned.errno === 0) this.#living.set(options.id, onExit);
    return spawned;
  }

  #start() {
    const { Supervisor } = loadBinding();
    this.scheduling = this.#readScheduling();
    return new Supervisor(this.scheduling, (event) => this.#onEvent(event));
  }

  /**
   * What has been done with connections so far.
   * @returns {import('../../index').SchedulingStats}
   */
  report() {
    return this.#supervisor ? JSON.parse(this.#supervisor.report()) : { listeners: [], workers: [] };
  }

  /**
   * @param {number} id
   * @param {number} signal
   * @returns {number} 0 or a negative errno.
   */
  kill(id, signal) {
    return /** @type {Supervisor} */ (this.#supervisor).kill(id, signal);
  }

  /**
   * The worker serves no longer: it is dropped from its listeners, and those with nobody left are closed.
   * @param {number} id
   */
  leave(id) {
    this.#supervisor?.leave(id);
  }

  /**
   * The app knows that the worker is dead and has had its chance to fork another.
   * @param {number} id
   */
  settle(id) {
    this.#supervisor?.settle(id);
  }

  /** One more living child wants the event loop to go on. */
  hold() {
    if (this.#holds++ === 0) this.#supervisor?.ref();
  }

  release() {
    if (--this.#holds === 0) this.#supervisor?.unref();
  }

  /** @param {ExitEvent | WarningEvent | FailureEvent} event */
  #onEvent(event) {
    switch (event.kind) {
      case 'exit':
        this.#onExit(event);
        break;
      case 'warning':
        process.emitWarning(event.message, { code: event.code });
        break;
      default:
        fail(event.message);
    }
  }

  /** @param {ExitEvent} event */
  #onExit({ id, code, signal }) {
    const onExit = this.#living.get(id);
    this.#living.delete(id);
    onExit?.(code, signal);
  }
}

/**
 * Without its native part a primary neither serves nor notices that workers die, and nothing but a new process gets it
 * back. So this is an exception that nobody can catch but process.on('uncaughtException').
 * @param {string} message
 */
function fail(message) {
  setImmediate(() => {
    throw Object.assign(new Error(`rcluster has failed: ${message}`), { code: 'ERR_RCLUSTER_FAILED' });
  });
}

module.exports = { Supervision };
