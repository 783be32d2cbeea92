'use strict';

const { inspect } = require('node:util');
const seam = require('../seam/worker');
const createExchanges = require('./exchanges');

/** How long, in ms, a worker that wants to go goes on serving while the primary does not tell it to drain. */
const PATIENCE = 200;

/** What the frame that tells of it may hold. */
const MAX_REASON = 64;
const MAX_DETAIL = 4096;

/** What a shell says of a process that SIGTERM has ended. */
const TERMINATED = 143;

/**
 * What a supervised worker knows of the supervision.
 *
 * @typedef {object} Settings
 * @property {number | null} slot
 * @property {boolean} standby
 * @property {number} drainTimeoutMs
 * @property {boolean} retireOnException
 * @property {string | null} [instanceVar] the variable that has the slot, if one has it
 */

/**
 * How a worker goes: by order of the primary, by its own wish, or after an exception.
 *
 * @param {any} worker cluster.worker
 * @param {object} means
 * @param {(frame: object) => void} means.tell says something to the primary's native side
 * @param {() => boolean} means.serves whether there is anything to finish
 * @param {(options: { timeout: number, handOver: boolean }, done: () => void) => void} means.drain
 * @param {() => void} means.leaving the end to come is by agreement
 * @param {(waits: boolean) => void} means.standby whether it waits to be promoted
 */
module.exports = function createRetirement(worker, { tell, serves, drain, leaving, standby }) {
  /** @type {Settings | null} null if there is no supervision */
  let settings = null;
  /** @type {ReturnType<typeof createExchanges> | null} */
  let exchanges = null;
  /** @type {'serving' | 'asked' | 'draining'} */
  let state = 'serving';
  /** @type {NodeJS.Timeout | undefined} */
  let patience;
  let failed = false;
  /** When the drain has to be over, if it has to. */
  let deadline = Infinity;

  /** @param {Settings} given */
  function configure(given) {
    settings = given;
    standby(given.standby);
    // The terminal sends it to the whole group: what it means is for the primary to say.
    process.on('SIGINT', () => {});
    process.on('SIGTERM', onTerminate);
    if (!settings.retireOnException) return;
    exchanges = createExchanges();
    seam.interceptExceptions(retiresOnException, onException);
  }

  function onTerminate() {
    // What an application does about it is its own affair.
    if (process.listenerCount('SIGTERM') > 1) return;
    if (state !== 'serving') process.exit(TERMINATED);
    retire('SIGTERM');
  }

  function retiresOnException() {
    // Before it serves anybody there is nothing to finish: that is a crash, and has to look like one.
    return state !== 'serving' || serves();
  }

  /**
   * @param {unknown} error
   * @param {'uncaughtException' | 'unhandledRejection'} origin
   */
  function onException(error, origin) {
    process.stderr.write(error instanceof Error ? `${inspect(error)}\n` : `Uncaught:\n${inspect(error)}\n`);
    failed = true;
    process.exitCode = 1;
    exchanges?.fail();
    wish(origin, error instanceof Error ? String(error.stack) : inspect(error));
  }

  /**
   * @param {string} [reason]
   */
  function retire(reason = 'retire') {
    if (typeof reason !== 'string') throw invalid('reason', 'string', reason);
    wish(reason, '');
  }

  /**
   * @param {string} reason
   * @param {string} detail
   */
  function wish(reason, detail) {
    if (state !== 'serving' || isLeaving()) return;
    reason = reason.slice(0, MAX_REASON);
    if (settings === null) return begin(reason, Infinity);
    // First things first: the replacement is started while this worker still serves.
    state = 'asked';
    tell({ act: 'retire', reason, detail: detail.slice(0, MAX_DETAIL) });
    patience = setTimeout(begin, PATIENCE, reason, settings.drainTimeoutMs);
  }

  /** Whether the application has made it disconnect, which is a way to go, too. */
  function isLeaving() {
    return state === 'serving' && ['disconnecting', 'destroying'].includes(worker.state);
  }

  /**
   * The drain begins.
   *
   * @param {string} reason
   * @param {number} timeout in ms, after which the primary forces it
   */
  function begin(reason, timeout) {
    if (state === 'draining' || isLeaving()) return;
    state = 'draining';
    clearTimeout(patience);
    deadline = Date.now() + timeout;
    worker.state = 'disconnecting';
    worker.exitedAfterDisconnect = true;
    leaving();
    // The flag first: whatever becomes of the drain, the end was meant.
    seam.notifyPrimary({ act: 'exitedAfterDisconnect', drains: true });
    // When all workers go there is nobody to hand connections over to.
    drain({ timeout, handOver: reason !== 'shutdown' }, end);
    worker.emit('retire', { reason, deadline: deadline === Infinity ? null : deadline });
  }

  function end() {
    if (failed) {
      process.once('disconnect', () => process.exit(1));
      if (!process.connected) process.exit(1);
    }
    if (process.connected) process.disconnect?.();
  }

  /** The primary is gone, and with it who would end a drain that takes too long. */
  function orphaned() {
    if (state !== 'draining' || deadline === Infinity) return;
    setTimeout(() => process.exit(), Math.max(0, deadline - Date.now())).unref();
  }

  /** @param {number} slot */
  function promote(slot) {
    if (settings === null) return;
    settings = { ...settings, slot, standby: false };
    standby(false);
    if (settings.instanceVar) process.env[settings.instanceVar] = String(slot);
    worker.emit('promote', { slot });
  }

  /** @type {Record<string, (frame: any) => void>} */
  const acts = {
    drain: ({ reason, timeoutMs }) => begin(reason, timeoutMs),
    keep: () => clearTimeout(patience),
    promote: ({ slot }) => promote(slot),
    ping: () => {},
  };

  const extras = {
    slot: { get: () => settings?.slot ?? undefined },
    ready: { value: () => tell({ act: 'ready' }), writable: true },
    retire: { value: retire, writable: true },
  };
  for (const [name, descriptor] of Object.entries(extras)) {
    Object.defineProperty(worker, name, { ...descriptor, configurable: true, enumerable: false });
  }

  return {
    configure,
    orphaned,
    /** @param {{ act: string }} frame that is no reply */
    heed: (frame) => acts[frame.act]?.(frame),
    /** @param {any} session of an http2 server */
    watchSession: (session) => exchanges?.watchSession(session),
  };
};

/**
 * @param {string} name
 * @param {string} type
 * @param {unknown} value
 */
function invalid(name, type, value) {
  const message = `The "${name}" argument must be of type ${type}. Received ${inspect(value)}`;
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
}
