'use strict';

// The worker's side of supervision without the native part.

const { Number, Object, TypeError, clearTimeout, process, setTimeout, wallClock } = require('../globals');
const { addExtras } = require('../extras');
const { keepListening } = require('../keep-listening');
const { createExitHold, ignoreTerminal, listenBeside } = require('../seam/signals');
const { COMMAND } = require('./member');

/** The variable with the slot of a supervised worker. The worker removes it when it starts. */
const SLOT = 'RCLUSTER_FALLBACK_SLOT';

/** The exit code that a shell reports for a process that SIGTERM has ended. */
const TERMINATED = 143;

/**
 * How long, in ms, a worker that gets SIGTERM waits for an order of the primary: if that has got the signal as well,
 * this is a shutdown, and no worker is replaced.
 */
const SIGNAL_WAIT = 250;

/**
 * Adds to `cluster.worker` what it has with the native part.
 * @param {any} worker
 */
function attach(worker) {
  const { [SLOT]: given } = process.env;
  delete process.env[SLOT];
  const slot = given === undefined ? undefined : Number(given);
  /** @type {'serving' | 'asked' | 'draining'} */
  let state = 'serving';
  /** @type {NodeJS.Timeout | undefined} */
  let patience;
  /** Whether an exit of the process was held back. */
  let exitIsDue = false;
  const hold = createExitHold(['SIGTERM', 'SIGINT', 'SIGHUP'], onHeldExit);

  /**
   * @param {string} reason
   * @param {number | null} timeout in ms
   */
  function drain(reason, timeout) {
    if (state === 'draining') return;
    state = 'draining';
    clearTimeout(patience);
    worker.emit('retire', { reason, deadline: timeout === null ? null : wallClock() + timeout });
  }

  function retire(reason = 'retire') {
    if (typeof reason !== 'string') {
      const message = `The "reason" argument must be of type string. Received ${typeof reason}`;
      throw Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
    }
    if (state !== 'serving') return;
    if (slot === undefined) {
      drain(reason, null);
      worker.disconnect();
      return;
    }
    state = 'asked';
    askToRetire(reason);
  }

  /** The replacement is started while this worker still serves. @param {string} reason */
  function askToRetire(reason) {
    process.send?.({ cmd: COMMAND, act: 'retire', reason });
  }

  function onTerminate() {
    if (state !== 'serving') return;
    state = 'asked';
    patience = setTimeout(askToRetire, SIGNAL_WAIT, 'SIGTERM');
  }

  /**
   * After a signal, a library has cleaned up and exits, which is not the end of the app's work.
   * @param {number | string | null | undefined} code
   */
  function onHeldExit(code) {
    if (code !== undefined && code !== null) process.exitCode = code;
    exitIsDue = true;
    onTerminate();
  }

  /** @param {number} [code] */
  function exit(code) {
    hold.release();
    process.exit(code);
  }

  keepListening('internalMessage', (/** @type {any} */ message) => {
    if (message?.cmd !== COMMAND) return;
    if (message.act === 'drain') drain(message.reason, message.timeoutMs);
    // An orderly stop arrives as a drain; this is its timeout.
    else if (message.act === 'terminate') setTimeout(exit, 0, TERMINATED);
  });

  if (slot !== undefined) {
    ignoreTerminal(hold);
    // An application with its own listener handles SIGTERM itself. If that only cleans up and exits, the exit is held
    // back.
    listenBeside('SIGTERM', (hasOthers) => (hasOthers ? hold.hold() : onTerminate()));
    // It has drained, or has lost its primary.
    keepListening('disconnect', () => exitIsDue && exit());
  }
  addExtras(worker, { ready: () => process.send?.({ cmd: COMMAND, act: 'ready' }), retire, slot });
}

module.exports = { SLOT, attach };
