'use strict';

const { constants } = require('node:os');
const { Error, JSON, Map, Object, process, setImmediate } = require('../globals');
const { noReport } = require('../extras');
const { loadBinding, packageFiles } = require('../load-binding');
const { readReport } = require('./report');

/**
 * @typedef {import('../../binding').Supervisor} Supervisor
 * @typedef {import('../../binding').ExitEvent} ExitEvent
 * @typedef {import('../../binding').WarningEvent} WarningEvent
 * @typedef {import('../../binding').FailureEvent} FailureEvent
 * @typedef {import('../../binding').SpawnedEvent} SpawnedEvent
 * @typedef {import('../../binding').OrphansEvent} OrphansEvent
 * @typedef {import('../../binding').SupervisionEvent} SupervisionEvent
 * @typedef {import('../../binding').QuestionsEvent} QuestionsEvent
 * @typedef {import('./scheduling').Schedule} Schedule
 *
 * Who hears of what supervision does by itself.
 * @typedef {{ onSpawned: (event: SpawnedEvent) => void, onMessage: (message: any) => void }} Audience
 */

/** @param {string | undefined} code the name of an error of the system @returns {number | undefined} its number */
function errnoOf(code) {
  return Object.entries(constants.errno).find(([name]) => name === code)?.[1];
}

/**
 * A cluster's hold on the native supervisor. It exists from the first spawn on: a process that never forks starts no
 * native thread, and the scheduling policy is known only then.
 */
class Supervision {
  /** @type {() => Schedule} */
  #readScheduling;

  /**
   * How connections are distributed, once that is settled.
   * @type {Schedule | undefined}
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

  /** @type {Audience | undefined} */
  audience;

  /** @type {InstanceType<typeof import('./hook').HookAnswers>} */
  #answers;

  /**
   * @param {() => Schedule} readScheduling Asked once, at the first spawn.
   * @param {InstanceType<typeof import('./hook').HookAnswers>} answers
   */
  constructor(readScheduling, answers) {
    this.#readScheduling = readScheduling;
    this.#answers = answers;
  }

  /**
   * @param {import('../../binding').SpawnOptions} options
   * @param {(code: number, signal: number) => void} onExit Called once, later, if a process was started.
   */
  spawn(options, onExit) {
    const spawned = this.native.spawn(options);
    if (spawned.errno === 0) this.adopt(options.id, onExit);
    return spawned;
  }

  /** The native supervisor, started when it is first needed. */
  get native() {
    this.#supervisor ??= this.#start();
    return this.#supervisor;
  }

  /**
   * @param {number} id
   * @param {(code: number, signal: number) => void} onExit Called once, later.
   */
  adopt(id, onExit) {
    this.#living.set(id, onExit);
  }

  /**
   * Whether a supervised worker leaves, or has left, by agreement.
   * @param {number} id
   */
  isLeaving(id) {
    return this.#supervisor !== undefined && this.#supervisor.isLeaving(id);
  }

  #start() {
    const { Supervisor } = loadBinding();
    this.scheduling = this.#readScheduling();
    const plans = JSON.stringify(this.scheduling.plans);
    try {
      return new Supervisor(plans, packageFiles(), (event) => this.#onEvent(event));
    } catch (error) {
      const failure = /** @type {NodeJS.ErrnoException} */ (error);
      const errno = errnoOf(failure.code);
      throw errno === undefined ? error : Object.assign(failure, { errno: -errno });
    }
  }

  /**
   * What has been done with connections so far.
   * @returns {import('../../index').SchedulingStats}
   */
  report() {
    const supervisor = this.#supervisor;
    return supervisor
      ? readReport(supervisor.report(), /** @type {Schedule} */ (this.scheduling))
      : noReport();
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
   * The worker takes no more connections, finishes and exits. It is told natively, so the JavaScript of neither side
   * has to be idle for it to be on its way.
   * @param {number} id
   * @param {string} reason
   * @param {number} timeout in ms
   */
  drain(id, reason, timeout) {
    this.#supervisor?.drain(id, reason, timeout);
  }

  /**
   * What the worker has asked of the native supervisor so far is done when this returns. Its messages to us come another
   * way, and may be faster.
   * @param {number} id
   */
  catchUp(id) {
    this.#supervisor?.catchUp(id);
  }

  /**
   * Opens addresses and forwards them to the workers spawned from now on.
   * @param {import('../../binding').ForwardSpec[]} specs
   */
  forward(specs) {
    return this.native.forward(specs);
  }

  /** Removes the sockets by which workers are reached that listen by themselves. */
  removeSockets() {
    this.#supervisor?.removeSockets();
  }

  /** @returns {import('../../binding').ForwardReport[]} */
  forwarding() {
    return this.#supervisor?.forwarding() ?? [];
  }

  /**
   * The app knows that the worker is dead and has had its chance to fork another.
   * @param {number} id
   */
  onExitReported(id) {
    this.#supervisor?.onExitReported(id);
  }

  /** One more living child wants the event loop to go on. */
  hold() {
    if (this.#holds++ === 0) this.native.ref();
  }

  release() {
    if (--this.#holds === 0) this.native.unref();
  }

  /** @param {ExitEvent | WarningEvent | FailureEvent | SpawnedEvent | SupervisionEvent | QuestionsEvent | OrphansEvent} event */
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
      case 'questions':
        this.#answer(JSON.parse(event.text));
        break;
      case 'orphans':
        this.#supervisor?.reapOrphans(event.pids);
        break;
      case 'supervision':
        this.audience?.onMessage(JSON.parse(event.text));
        break;
      default:
        fail(event.message);
    }
  }

  /** @param {import('./hook').Questions} questions */
  #answer(questions) {
    const { hooks } = /** @type {Schedule} */ (this.scheduling);
    this.#supervisor?.answer(questions.batch, this.#answers.to(hooks, questions));
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
