'use strict';

// The worker's side of supervision without the native part.

const { Number, Object, TypeError, process, setTimeout, wallClock } = require('../globals');
const { addExtras } = require('../extras');
const { COMMAND } = require('./member');

/** The variable with the slot of a supervised worker. The worker removes it when it starts. */
const SLOT = 'RCLUSTER_FALLBACK_SLOT';

/** The exit code that a shell reports for a process that SIGTERM has ended. */
const TERMINATED = 143;

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

  /**
   * @param {string} reason
   * @param {number | null} timeout in ms
   */
  function drain(reason, timeout) {
    if (state === 'draining') return;
    state = 'draining';
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
    // The replacement is started while this worker still serves.
    state = 'asked';
    process.send?.({ cmd: COMMAND, act: 'retire', reason });
  }

  process.on('internalMessage', (/** @type {any} */ message) => {
    if (message?.cmd !== COMMAND) return;
    if (message.act === 'drain') drain(message.reason, message.timeoutMs);
    // An orderly stop arrives as a drain; this is its timeout.
    else if (message.act === 'terminate') setTimeout(() => process.exit(TERMINATED), 0);
  });

  if (slot !== undefined) {
    // The terminal signals the whole process group. The primary decides what SIGINT means.
    process.on('SIGINT', () => {});
    // An application with its own listener handles SIGTERM itself.
    process.on('SIGTERM', () => process.listenerCount('SIGTERM') === 1 && retire('SIGTERM'));
  }
  addExtras(worker, { ready: () => process.send?.({ cmd: COMMAND, act: 'ready' }), retire, slot });
}

module.exports = { SLOT, attach };
