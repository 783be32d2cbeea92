'use strict';

const {
  Math,
  Promise,
  Reflect,
  String,
  clearTimeout,
  monotonic,
  process,
  setTimeout,
  wallClock,
} = require('../globals');
const { keepListening } = require('../keep-listening');
const { later } = require('../later');
const seam = require('../seam/worker');
const { isHttp1, isHttp2 } = require('../seam/servers');
const { hasOtherListeners } = require('../seam/signals');
const { Ending } = require('./ending');

/** How long, in ms, a worker that has requested to retire keeps serving without an order to drain. */
const PATIENCE = 200;

/**
 * How long, in ms, a worker that gets SIGTERM waits for an order of the primary. Often a service manager
 * signals all processes, so the primary has got SIGTERM too: then it is a shutdown, and no worker is
 * replaced.
 */
const SIGNAL_WAIT = 250;

/**
 * How long, in ms, before its deadline a worker reports what still keeps it alive; at most half of the
 * timeout.
 */
const REPORT_BEFORE = 200;

/** The maximum number of characters of a stack in a `retire` frame. */
const MAX_DETAIL = 4096;

/** @type {() => typeof import('../errors')} */
const errors = later('errors');
/** @type {() => typeof import('../stderr')} */
const stderr = later('stderr');
/** @type {() => typeof import('../text')} */
const text = later('text');
/** @type {() => typeof import('../seam/work')} */
const work = later('seam/work');
/** @type {() => typeof import('./announce')} */
const announcing = later('worker/announce');
/** @type {() => typeof import('./exchanges')} */
const exchangesModule = later('worker/exchanges');
/** @type {() => typeof import('./finish')} */
const finish = later('worker/finish');

/**
 * The settings that supervision gives to a worker.
 *
 * @typedef {object} Settings
 * @property {number | null} slot
 * @property {boolean} standby
 * @property {number} drainTimeoutMs
 * @property {boolean} retireOnException
 * @property {boolean} [retry] whether the last worker of the slot did not become ready
 * @property {string | null} [instanceVar] the environment variable with the slot, if there is one
 */

/**
 * How a worker retires: by order of the primary, on its own request, or after an exception.
 *
 * @param {any} worker cluster.worker
 * @param {object} means
 * @param {(frame: object) => void} means.tell sends a frame to the primary's native side
 * @param {() => boolean} means.serves whether there is anything to finish
 * @param {(options: { timeout: number, handOver: boolean }, done: () => void) => void} means.drain
 * @param {() => void} means.leaving marks the coming end as intended
 * @param {(waits: boolean) => void} means.standby whether it waits to be promoted
 */
module.exports = function createRetirement(worker, { tell, serves, drain, leaving, standby }) {
  /** @type {Settings | null} null if there is no supervision */
  let settings = null;
  /** @type {ReturnType<typeof import('./exchanges')> | null} */
  let exchanges = null;
  /** @type {'serving' | 'asked' | 'draining'} */
  let state = 'serving';
  /** @type {NodeJS.Timeout | undefined} */
  let patience;
  let failed = false;
  /** When the drain must be over, in ms of the monotonic clock; Infinity if there is no limit. */
  let deadline = Infinity;
  const ending = new Ending(askToEnd);

  /** @param {Settings} given */
  function configure(given) {
    settings = given;
    standby(given.standby);
    ending.listen();
    if (!settings.retireOnException && !settings.retry) return;
    if (settings.retireOnException) exchanges = exchangesModule()();
    seam.interceptExceptions(handlerOfExceptions);
  }

  /** SIGTERM may arrive more than once, and before or after the primary's order, which carries the deadline. */
  function askToEnd() {
    if (monotonic() >= deadline) return ending.terminate();
    if (state === 'serving') askToRetire('SIGTERM', '', SIGNAL_WAIT);
  }

  /** The primary has sent SIGTERM: the time limit is over. */
  function onTimeUp() {
    // It listens without being ready, so it may have clients: it drains until SIGKILL.
    const drains = state === 'draining' || isLeaving();
    if (settings !== null && !drains && serves() && !hasOtherListeners('SIGTERM')) {
      begin('shutdown', settings.drainTimeoutMs);
      return;
    }
    if (ending.onTimeUp()) ending.terminate();
  }

  function handlerOfExceptions() {
    // Before it serves, there is nothing to finish: that is a crash, and must look like one the first time.
    if (state === 'serving' && !serves()) return settings?.retry ? onStartUpException : undefined;
    return settings?.retireOnException ? onException : undefined;
  }

  /** @param {unknown} error */
  function onStartUpException(error) {
    const what = `worker ${worker.id} (pid ${process.pid})`;
    stderr().writeLine(`rcluster: ${what} cannot start, like the one before it: ${text().summaryOf(error)}`);
    ending.exit(1);
  }

  /** The application reports that the worker is ready, so it has started. */
  function ready() {
    if (settings !== null) settings = { ...settings, retry: false };
    tell({ act: 'ready' });
  }

  /**
   * @param {unknown} error
   * @param {'uncaughtException' | 'unhandledRejection'} origin
   */
  function onException(error, origin) {
    const { describe, isError, stackOf } = text();
    stderr().writeLine(isError(error) ? describe(error) : `Uncaught:\n${describe(error)}`);
    writeReport(isError(error) ? /** @type {Error} */ (error) : undefined);
    failed = true;
    process.exitCode = 1;
    exchanges?.fail(error, origin);
    askToRetire(origin, stackOf(error));
  }

  /**
   * Writes the report of `--report-uncaught-exception`, which Node writes only when it ends the process.
   * @param {Error | undefined} error
   */
  function writeReport(error) {
    const { report } = process;
    if (report?.reportOnUncaughtException) report.writeReport(error);
  }

  /**
   * @param {string} [reason]
   */
  function retire(reason = 'retire') {
    if (typeof reason !== 'string') throw errors().invalidType('reason', 'string', reason);
    askToRetire(reason, '');
  }

  /**
   * @param {string} reason
   * @param {string} detail
   * @param {number} [wait] how long, in ms, to wait for an order of the primary before the request is sent
   */
  function askToRetire(reason, detail, wait = 0) {
    if (state !== 'serving' || isLeaving()) return;
    const { MAX_REASON, beginning } = text();
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

  /**
   * Whether the application has called destroy(), or disconnect() without supervision, which also ends the
   * worker.
   */
  function isLeaving() {
    return state !== 'draining' && ['disconnecting', 'destroying'].includes(worker.state);
  }

  /** The application, or the primary, has called disconnect() under supervision. */
  function disconnect() {
    if (worker.state !== 'destroying') drainFor('disconnect', settings?.drainTimeoutMs ?? Infinity);
  }

  /**
   * The drain begins, unless the application ends the worker in its own way.
   *
   * @param {string} reason
   * @param {number} timeout in ms, after which the primary kills the worker
   */
  function begin(reason, timeout) {
    if (!isLeaving()) drainFor(reason, timeout);
  }

  /**
   * The drain begins, unless it has begun.
   *
   * @param {string} reason
   * @param {number} timeout in ms
   */
  function drainFor(reason, timeout) {
    if (state === 'draining') return;
    state = 'draining';
    clearTimeout(patience);
    deadline = monotonic() + timeout;
    worker.state = 'disconnecting';
    worker.exitedAfterDisconnect = true;
    leaving();
    // The flag comes first: the end is intended, however the drain goes.
    seam.notifyPrimary({ act: 'exitedAfterDisconnect', drains: true });
    if (deadline !== Infinity) {
      setTimeout(report, timeout - Math.min(REPORT_BEFORE, timeout / 2), false).unref();
    }
    // In a shutdown all workers leave, so no worker could take over connections.
    const drained = new Promise((/** @type {(value: void) => void} */ resolve) => {
      drain({ timeout, handOver: reason !== 'shutdown' }, resolve);
    });
    const { announce, quiet } = announcing();
    const prepared = announce(worker, {
      reason,
      deadline: timeout === Infinity ? null : wallClock() + timeout,
    });
    void Promise.all([drained, prepared])
      .then(() => quiet(worker))
      .then(end);
  }

  /**
   * Reports to the primary what still keeps this process alive.
   *
   * @param {boolean} drained whether there is nothing left to serve
   */
  function report(drained) {
    const resources = { ...work().activeResources(), ...announcing().heldBy(worker) };
    tell({ act: 'held', drained, resources });
  }

  /** There is nothing left to serve. */
  function end() {
    if (settings === null || failed) return leave();
    ending.cleanUp(leave, () => report(true));
  }

  /** Closes the channel, and ends. */
  function leave() {
    const finished = () => {
      report(true);
      if (failed) return ending.exit(1);
      if (ending.needsNoWait) return ending.exit();
      finish()(() => ending.exit());
    };
    if (!process.connected) return finished();
    keepListening('disconnect', finished);
    process.disconnect?.();
  }

  /** The primary is gone, so the drain must enforce its deadline itself. */
  function orphaned() {
    if (state !== 'draining' || deadline === Infinity) return;
    setTimeout(() => ending.exit(), Math.max(0, deadline - monotonic())).unref();
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
  };

  return {
    configure,
    disconnect,
    orphaned,
    ready,
    retire,
    slot: () => settings?.slot ?? undefined,
    /** @param {{ act: string }} frame any frame except a reply */
    heed: (frame) => acts[frame.act]?.(frame),
    /** @param {any} server a server that begins to listen */
    watchServer: (server) => {
      if (isHttp1(server) || isHttp2(server)) exchanges?.watchServer(server);
    },
    /** @param {any} session of an http2 server */
    watchSession: (session) => exchanges?.watchSession(session),
  };
};
