'use strict';

const { Math, String, clearTimeout, monotonic, nextTick, setTimeout } = require('../globals');
const os = require('node:os');

/**
 * @typedef {import('../../index').Worker} Worker
 * @typedef {'start' | 'restart' | 'retire' | 'recycle' | 'reload' | 'scale'} Cause
 *
 * The end of a worker.
 * @typedef {{ code: number | null, signal: number | null, reason: string }} End
 *
 * @typedef {object} Handlers
 * @property {(member: Member) => void} onReady
 * @property {(member: Member) => void} onLate Called if it was not ready in time.
 * @property {(member: Member, reason: string) => void} onRetire Called when it requests its replacement.
 * @property {(member: Member) => void} onLeft Called when it has disconnected by itself or because the app told it to.
 * @property {(member: Member) => void} onDrainTimeout
 * @property {(member: Member, end: End) => void} onExit
 */

/**
 * The value of `cmd` in our messages. By the prefix NODE_ Node separates internal messages from the app's.
 */
const COMMAND = 'NODE_RCLUSTER';

/** The errors of writing to a process that has ended. */
const CLOSED = ['EPIPE', 'ECONNRESET', 'ENOTCONN'];

/** A supervised worker from its start to its end. */
class Member {
  /** @type {Worker | undefined} */
  worker;
  /** @type {number | null} The id of its worker; null if it could not be started. */
  id = null;
  /** @type {'starting' | 'ready' | 'draining' | 'terminating'} */
  stage = 'starting';
  /** When it was started, and after that when it became ready, in ms. */
  since = monotonic();
  /** When it was started. */
  started = monotonic();
  /** @type {string | undefined} Why it drains as soon as its successor is ready. */
  leaves;
  /** Whether it leaves even if its successor fails: it gets another one. */
  leavesSoon = false;
  /** @type {{ reason?: string, detail?: string }} Why it has ended or is about to, if more is known than how. */
  why = {};
  /** @type {NodeJS.Timeout | undefined} The timeout of the current stage. */
  #timer;
  /** @type {NodeJS.Timeout | undefined} */
  #age;
  /** The limit of its age that it has reached, in ms. */
  #ageLimit = 0;
  /** When its drain is forced to end, in ms. */
  #drainsUntil = 0;
  /** Whether it drains already, because the app has called disconnect(). */
  #hasBegun = false;
  #ready;
  #killTimeout;
  #handlers;

  /**
   * @param {{ slot: number, place: 'current' | 'successor', generation: number, cause: Cause }} role
   * @param {{ ready: string, readyTimeout: number, killTimeout: number }} options
   * @param {Handlers} handlers
   */
  constructor({ slot, place, generation, cause }, { ready, readyTimeout, killTimeout }, handlers) {
    this.slot = slot;
    /** @type {'current' | 'successor' | 'former'} */
    this.place = place;
    this.generation = generation;
    this.cause = cause;
    this.#ready = ready;
    this.#killTimeout = killTimeout;
    this.#handlers = handlers;
    this.#timer = setTimeout(() => handlers.onLate(this), readyTimeout);
  }

  /**
   * Its process has been started, or could not be: then it gets no id, and its end is reported later.
   * @param {() => Worker} fork
   */
  spawn(fork) {
    try {
      const worker = fork();
      if (worker.process.pid !== undefined) this.#watch(worker);
      // Without a listener, the error would end the primary; so would a further one, of its channel.
      else worker.on('error', (error) => this.#onNotSpawned(error));
    } catch (error) {
      nextTick(() => this.#onNotSpawned(/** @type {Error} */ (error)));
    }
  }

  /** @param {Worker} worker */
  #watch(worker) {
    this.worker = worker;
    this.id = worker.id;
    const { process: child } = worker;
    worker.on('error', (error) => onError(worker, error));
    if (this.#ready !== 'explicit') {
      worker.once(this.#ready === 'online' ? 'online' : 'listening', () => this.#onReady());
    }
    child.on('internalMessage', (message) => this.#onMessage(worker, message));
    // At the process, because the app may remove all listeners of the worker. First, because a listener of the app may
    // throw.
    child.prependOnceListener('exit', (code, signal) => {
      this.#onLeft(worker);
      this.#onExit(endOf(code, signal));
    });
    child.once('disconnect', () => this.#onLeft(worker));
  }

  get isReady() {
    return this.stage === 'ready';
  }

  /**
   * Calls back when it has been ready for the given time.
   * @param {number} limit in ms
   * @param {() => void} onAge
   */
  limitAge(limit, onAge) {
    this.#age = setTimeout(() => {
      this.#ageLimit = limit;
      onAge();
    }, limit);
  }

  /** Its age and the limit in ms, if it has reached the limit. */
  excess() {
    const limit = this.#ageLimit;
    // A timer may come a little early.
    return limit === 0 ? undefined : { value: Math.max(limit, Math.round(monotonic() - this.since)), limit };
  }

  /**
   * It leaves once its successor is ready, unless it leaves for another reason.
   * @param {string} reason
   */
  leave(reason) {
    this.leaves ??= reason;
  }

  /** @param {string} reason */
  leaveSoon(reason) {
    this.leaves = reason;
    this.leavesSoon = true;
  }

  /** It does not have to be replaced any more. */
  stay() {
    this.leaves = undefined;
  }

  /**
   * Makes it take no more connections, finish, and end.
   * @param {string} reason
   * @param {number} timeout in ms
   */
  drain(reason, timeout) {
    this.#leave('draining');
    this.why.detail ??= `it retired (${reason})`;
    if (this.worker && !this.#hasBegun) sendDrain(this.worker, reason, timeout);
    this.#endDrainIn(timeout);
  }

  /** @param {number} timeout in ms; if less time is left, nothing changes */
  shortenDrain(timeout) {
    if (this.stage !== 'draining' || this.#drainsUntil <= monotonic() + timeout) return;
    clearTimeout(this.#timer);
    this.#endDrainIn(timeout);
  }

  /** @param {number} timeout in ms */
  #endDrainIn(timeout) {
    this.#drainsUntil = monotonic() + timeout;
    this.#timer = setTimeout(() => {
      this.#handlers.onDrainTimeout(this);
      this.terminate();
    }, timeout);
  }

  /** Ends it now; it is killed if it has not ended within the kill timeout. */
  terminate() {
    this.#leave('terminating');
    const { worker } = this;
    // A draining worker takes SIGTERM alone for one sent to the whole process group.
    if (worker?.isConnected()) worker.send({ cmd: COMMAND, act: 'terminate' }, ignoreClosed);
    worker?.process.kill('SIGTERM');
    this.#timer = setTimeout(() => this.kill(), this.#killTimeout);
  }

  kill() {
    this.worker?.process.kill('SIGKILL');
  }

  /** @param {'draining' | 'terminating'} stage */
  #leave(stage) {
    clearTimeout(this.#timer);
    clearTimeout(this.#age);
    this.place = 'former';
    this.stage = stage;
  }

  #onReady() {
    if (this.stage !== 'starting') return;
    clearTimeout(this.#timer);
    this.#handlers.onReady(this);
  }

  /** Its channel is closed or is about to be, on purpose or not. @param {Worker} worker */
  #onLeft({ exitedAfterDisconnect }) {
    if (exitedAfterDisconnect && this.place !== 'former') this.#handlers.onLeft(this);
  }

  /**
   * @param {Worker} worker
   * @param {any} message
   */
  #onMessage(worker, message) {
    if (message?.cmd !== COMMAND) return;
    if (message.act === 'ready') this.#onReady();
    else if (message.act === 'listens') this.#onListening();
    else if (message.act === 'retire') this.#handlers.onRetire(this, String(message.reason));
    else if (message.act === 'leave') this.#onLeaving(worker);
  }

  /** A server of the worker's own listens, of which the built-in does not know. */
  #onListening() {
    if (this.#ready === 'listening') this.#onReady();
  }

  /** The app has called disconnect(), and the worker drains. @param {Worker} worker */
  #onLeaving(worker) {
    this.#hasBegun = true;
    worker.exitedAfterDisconnect = true;
    this.#onLeft(worker);
  }

  /** @param {Error} error */
  #onNotSpawned({ message }) {
    this.#onExit({ code: null, signal: null, reason: `it could not be spawned: ${message}` });
  }

  /** @param {End} end */
  #onExit(end) {
    clearTimeout(this.#timer);
    clearTimeout(this.#age);
    this.#handlers.onExit(this, end);
    this.place = 'former';
  }
}

/**
 * Tells a worker to take no more connections, to finish, and to end.
 * @param {Worker} worker
 * @param {string} reason
 * @param {number | null} timeoutMs
 */
function sendDrain(worker, reason, timeoutMs) {
  if (!worker.isConnected() || worker.isDead()) return;
  // First the reason, then the built-in's order, which a worker without rcluster obeys as well.
  worker.send({ cmd: COMMAND, act: 'drain', reason, timeoutMs }, ignoreClosed);
  worker.disconnect();
}

/**
 * The built-in writes orders and connections to a worker that may just have ended, and the error would end the primary.
 * @param {Worker} worker
 * @param {NodeJS.ErrnoException} error
 */
function onError(worker, error) {
  if (error.syscall === 'write' && CLOSED.includes(`${error.code}`)) return;
  // As if there were no listener.
  if (worker.listenerCount('error') === 1) throw error;
}

/** A worker whose channel is closing is about to end, and its exit is reported. */
function ignoreClosed() {}

/**
 * @param {number | null} code
 * @param {string | null} signal
 * @returns {End}
 */
function endOf(code, signal) {
  if (signal === null) return { code, signal: null, reason: `it ended with exit code ${code}` };
  const number = os.constants.signals[/** @type {NodeJS.Signals} */ (signal)];
  const hint = signal === 'SIGABRT' ? ', as V8 does when its heap is out of memory' : '';
  return { code: null, signal: number, reason: `it ended by ${signal}${hint}` };
}

module.exports = { COMMAND, Member, sendDrain };
