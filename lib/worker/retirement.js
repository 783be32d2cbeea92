'use strict';

const {
  Math,
  Object,
  Promise,
  Reflect,
  String,
  clearTimeout,
  nextTick,
  process,
  setTimeout,
  wallClock,
} = require('../globals');
const { defineHidden } = require('../define');
const { invalidType } = require('../errors');
const { MAX_REASON, beginning, describe, isError, stackOf, summaryOf } = require('../text');
const seam = require('../seam/worker');
const { isHttp1, isHttp2 } = require('../seam/http');
const { createExitHold, hasOtherListeners, listenBeside } = require('../seam/signals');
const { writeLine } = require('../stderr');
const { activeResources } = require('../seam/work');
const createExchanges = require('./exchanges');
const finish = require('./finish');

/** How long, in ms, a worker that wants to go goes on serving while the primary does not tell it to drain. */
const PATIENCE = 200;

/**
 * How long, in ms, a worker that gets SIGTERM waits for the primary's order. Often the primary has got one at the same
 * time, from a service manager that signals all processes: then it is a shutdown, and nobody is to be replaced.
 */
const SIGNAL_WAIT = 250;

/** How long, in ms, before the end of its time a worker says what still keeps it; or half of that time, if that is less. */
const REPORT_BEFORE = 200;

/** How much of a stack the frame that tells of it may hold. */
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
 * @property {boolean} [retry] the last worker in its place did not get ready
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
  /** Whether the primary does not wait any longer. */
  let over = false;
  /** Whether the process would have ended if it had not been kept from it. */
  let exitIsDue = false;
  const hold = createExitHold(['SIGTERM', 'SIGINT'], onHeldExit);

  /** @param {Settings} given */
  function configure(given) {
    settings = given;
    standby(given.standby);
    // The terminal sends it to the whole group: what it means is for the primary to say.
    listenBeside('SIGINT', (hasOthers) => hasOthers && hold.hold());
    listenBeside('SIGTERM', onTerminate);
    if (!settings.retireOnException && !settings.retry) return;
    if (settings.retireOnException) exchanges = createExchanges();
    seam.interceptExceptions(handlerOfExceptions);
  }

  /** @param {boolean} hasOthers whether the application does something about the signal */
  function onTerminate(hasOthers) {
    if (hasOthers) {
      // What it does is its own affair, unless that is only to clean up and end.
      if (!over) hold.hold();
      return;
    }
    terminate();
  }

  function terminate() {
    if (over || wallClock() >= deadline) return exit(TERMINATED);
    // It may come more than once, and before or after the primary's order, which has told us until when we have time.
    if (state === 'serving') wish('SIGTERM', '', SIGNAL_WAIT);
  }

  /**
   * The process would have ended, and not because the application has finished its work.
   *
   * @param {number | string | null | undefined} code
   */
  function onHeldExit(code) {
    if (code !== undefined && code !== null) process.exitCode = code;
    exitIsDue = true;
    terminate();
  }

  /** The primary sends SIGTERM: the time is up. */
  function onTimeUp() {
    // It listens without being ready, and may have clients. SIGKILL limits the time for them.
    if (settings !== null && state !== 'draining' && serves() && !hasOtherListeners('SIGTERM')) {
      begin('shutdown', settings.drainTimeoutMs);
      return;
    }
    over = true;
    hold.release();
    // An application that listens for SIGTERM gets it, and may still do something about it.
    if (exitIsDue || !hasOtherListeners('SIGTERM')) exit(TERMINATED);
  }

  /** @param {number} [code] */
  function exit(code) {
    hold.release();
    process.exit(code);
  }

  function handlerOfExceptions() {
    // Before it serves anybody there is nothing to finish: that is a crash, and has to look like one, the first time.
    if (state === 'serving' && !serves()) return settings?.retry ? onStartUpException : undefined;
    return settings?.retireOnException ? onException : undefined;
  }

  /** @param {unknown} error */
  function onStartUpException(error) {
    const what = `worker ${worker.id} (pid ${process.pid})`;
    writeLine(`rcluster: ${what} cannot start, as the one before it: ${summaryOf(error)}`);
    exit(1);
  }

  /** The application says that the worker is ready, so it has started. */
  function ready() {
    if (settings !== null) settings = { ...settings, retry: false };
    tell({ act: 'ready' });
  }

  /**
   * @param {unknown} error
   * @param {'uncaughtException' | 'unhandledRejection'} origin
   */
  function onException(error, origin) {
    writeLine(isError(error) ? describe(error) : `Uncaught:\n${describe(error)}`);
    failed = true;
    process.exitCode = 1;
    exchanges?.fail(error, origin);
    wish(origin, stackOf(error));
  }

  /**
   * @param {string} [reason]
   */
  function retire(reason = 'retire') {
    if (typeof reason !== 'string') throw invalidType('reason', 'string', reason);
    wish(reason, '');
  }

  /**
   * @param {string} reason
   * @param {string} detail
   * @param {number} [wait] how long, in ms, the primary may give an order before it is asked
   */
  function wish(reason, detail, wait = 0) {
    if (state !== 'serving' || isLeaving()) return;
    reason = beginning(reason, MAX_REASON);
    if (settings === null) return begin(reason, Infinity);
    const { drainTimeoutMs } = settings;
    state = 'asked';
    const ask = () => {
      // The replacement is started while this worker still serves.
      tell({ act: 'retire', reason, detail: beginning(detail, MAX_DETAIL) });
      patience = setTimeout(begin, PATIENCE, reason, drainTimeoutMs);
    };
    if (wait > 0) patience = setTimeout(ask, wait);
    else ask();
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
    deadline = wallClock() + timeout;
    worker.state = 'disconnecting';
    worker.exitedAfterDisconnect = true;
    leaving();
    // The flag first: whatever becomes of the drain, the end was meant.
    seam.notifyPrimary({ act: 'exitedAfterDisconnect', drains: true });
    if (deadline !== Infinity) {
      setTimeout(report, timeout - Math.min(REPORT_BEFORE, timeout / 2), false).unref();
    }
    // When all workers go there is nobody to hand connections over to.
    const drained = new Promise((/** @type {(value: void) => void} */ resolve) => {
      drain({ timeout, handOver: reason !== 'shutdown' }, resolve);
    });
    const prepared = announce({ reason, deadline: deadline === Infinity ? null : deadline });
    void Promise.all([drained, prepared]).then(end);
  }

  /**
   * Tells the application that the worker drains, and waits for what it does about that.
   *
   * @param {{ reason: string, deadline: number | null }} facts
   * @returns {Promise<unknown>} resolves when all that the listeners have returned is settled
   */
  function announce(facts) {
    /** @type {any[]} */
    const results = [];
    for (const listener of worker.rawListeners('retire')) {
      try {
        results.push(Reflect.apply(listener, worker, [facts]));
      } catch (error) {
        // As it would be if the event were emitted; but the drain goes on.
        nextTick(() => {
          throw error;
        });
      }
    }
    const settled = results
      .filter((result) => typeof result?.then === 'function')
      .map(
        (result) =>
          new Promise((/** @type {(value: void) => void} */ resolve) => {
            // A rejection stays one that nobody handles.
            void Promise.resolve(result).finally(resolve);
          }),
      );
    return Promise.all(settled);
  }

  /**
   * Tells the primary what still keeps this process.
   *
   * @param {boolean} drained whether there is nothing left to serve
   */
  function report(drained) {
    tell({ act: 'held', drained, resources: activeResources() });
  }

  /** There is nothing left to serve. */
  function end() {
    const finished = () => {
      report(true);
      if (failed) return exit(1);
      if (exitIsDue) return exit();
      finish(exit);
    };
    if (!process.connected) return finished();
    process.once('disconnect', finished);
    process.disconnect?.();
  }

  /** The primary is gone, and with it who would end a drain that takes too long. */
  function orphaned() {
    if (state !== 'draining' || deadline === Infinity) return;
    setTimeout(() => exit(), Math.max(0, deadline - wallClock())).unref();
  }

  /** @param {number} slot */
  function promote(slot) {
    if (settings === null) return;
    settings = { ...settings, slot, standby: false };
    standby(false);
    if (settings.instanceVar) Reflect.set(process.env, settings.instanceVar, String(slot));
    worker.emit('promote', { slot });
  }

  /** @type {Record<string, (frame: any) => void>} */
  const acts = {
    drain: ({ reason, timeoutMs }) => begin(reason, timeoutMs),
    keep: () => clearTimeout(patience),
    terminate: onTimeUp,
    promote: ({ slot }) => promote(slot),
    ping: () => {},
  };

  const extras = {
    slot: { get: () => settings?.slot ?? undefined },
    ready: { value: ready },
    retire: { value: retire },
  };
  for (const [name, descriptor] of Object.entries(extras)) {
    defineHidden(worker, name, descriptor);
  }

  return {
    configure,
    orphaned,
    /** @param {{ act: string }} frame that is no reply */
    heed: (frame) => acts[frame.act]?.(frame),
    /** @param {any} server that begins to listen */
    watchServer: (server) => {
      if (isHttp1(server) || isHttp2(server)) exchanges?.watchServer(server);
    },
    /** @param {any} session of an http2 server */
    watchSession: (session) => exchanges?.watchSession(session),
  };
};
