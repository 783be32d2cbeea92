'use strict';

// The worker's side of supervision without the native part.

const {
  JSON,
  Math,
  Object,
  Promise,
  Reflect,
  TypeError,
  clearTimeout,
  monotonic,
  process,
  realProcess,
  setTimeout,
  wallClock,
} = require('../globals');
const { defineHidden } = require('../define');
const { addExtras } = require('../extras');
const { keepListening } = require('../keep-listening');
const { keep } = require('../later');
const { handleOf, isOfBuiltin } = require('../seam/listen');
const { allowClose } = require('../seam/servers');
const { hasOtherListeners } = require('../seam/signals');
const { announce } = require('../worker/announce');
const { Ending } = require('../worker/ending');
const { createExclusive } = require('../worker/exclusive');
const finish = require('../worker/finish');
const { COMMAND } = require('./member');

// The release may be gone when it ends.
keep(['worker/clean-up']);

/** The variable with the settings of a supervised worker, as JSON. The worker removes it when it starts. */
const SETTINGS = 'RCLUSTER_FALLBACK_SLOT';

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
  const { [SETTINGS]: given } = process.env;
  delete process.env[SETTINGS];
  /** @type {{ slot?: number, drainTimeout?: number }} */
  const { slot, drainTimeout = 0 } = given === undefined ? {} : JSON.parse(given);
  /** @type {'serving' | 'asked' | 'draining' | 'drained'} */
  let state = 'serving';
  /** @type {NodeJS.Timeout | undefined} */
  let patience;
  /** When the drain must be over, in ms of the monotonic clock; Infinity if there is no limit. */
  let deadline = Infinity;
  /** In a drain, the number of servers that the built-in has not closed yet, or which still have connections. */
  let shared = 0;
  /** Whether a server has listened. It may be closed by now, and still have connections. */
  let hasListened = false;
  const ending = new Ending(askToEnd);
  // Those of the cluster as well, in order to know when their connections have ended.
  const servers = createExclusive(() => false, onListening);
  const { disconnect } = worker;

  /** @param {any} owner the net.Server or dgram.Socket */
  function onListening(owner) {
    hasListened = true;
    // The built-in reports its own.
    if (slot !== undefined && !isOfBuiltin(handleOf(owner))) say('listens');
  }

  /**
   * @param {string} act
   * @param {object} [facts]
   */
  function say(act, facts) {
    process.send?.({ cmd: COMMAND, act, ...facts });
  }

  /**
   * The drain begins, unless it has begun. The built-in closes its servers; the others are closed here.
   * @param {string} reason
   * @param {number | null} timeout in ms
   */
  function drain(reason, timeout) {
    if (state === 'draining' || state === 'drained') return;
    state = 'draining';
    clearTimeout(patience);
    if (timeout !== null) deadline = monotonic() + timeout;
    const closed = closeServers();
    const prepared = announce(worker, {
      reason,
      deadline: timeout === null ? null : wallClock() + timeout,
    });
    // The built-in calls it when its servers are closed, even if the channel is closed by then, which would throw; and
    // Node calls it when the primary has ended.
    const { disconnect: leave } = /** @type {{ disconnect: () => void }} */ (realProcess);
    let isCalled = false;
    realProcess.disconnect = () => {
      if (!isCalled) {
        isCalled = true;
        limit();
        void Promise.all([closed, prepared]).then(end);
      }
      if (shared > 0 && process.connected) Reflect.apply(leave, realProcess, []);
    };
  }

  /** @returns {Promise<unknown>} resolves when all are closed and their connections have ended */
  function closeServers() {
    const open = servers.members();
    shared = open.filter(({ handle }) => isOfBuiltin(handle)).length;
    const closed = open.map(
      ({ owner, handle }) =>
        new Promise((/** @type {(value: void) => void} */ resolve) => {
          const isShared = isOfBuiltin(handle);
          owner.once('close', () => {
            if (isShared) shared--;
            allowClose(owner, true);
            resolve();
          });
          if (!isShared) owner.close();
        }),
    );
    return Promise.all(closed);
  }

  /** There is nothing left to serve. */
  function end() {
    state = 'drained';
    if (slot === undefined) leave();
    else ending.cleanUp(leave);
  }

  /** Closes the channel, and ends. */
  function leave() {
    const finished = () => (ending.needsNoWait ? ending.exit() : finish(() => ending.exit()));
    if (!process.connected) return finished();
    process.once('disconnect', finished);
    process.disconnect?.();
  }

  /** From now on it gets no orders, so it must enforce its deadline itself. */
  function limit() {
    if (deadline === Infinity) return;
    setTimeout(() => ending.terminate(), Math.max(0, deadline - monotonic())).unref();
  }

  function retire(reason = 'retire') {
    if (typeof reason !== 'string') {
      const message = `The "reason" argument must be of type string. Received ${typeof reason}`;
      throw Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
    }
    if (state !== 'serving') return;
    if (slot === undefined) {
      drain(reason, null);
      Reflect.apply(disconnect, worker, []);
      return;
    }
    state = 'asked';
    askToRetire(reason);
  }

  /** The replacement is started while this worker still serves. @param {string} reason */
  function askToRetire(reason) {
    say('retire', { reason });
  }

  /** The app has called disconnect() of a supervised worker, here or in the primary. */
  function onDisconnect() {
    if (state === 'draining' || state === 'drained') return;
    // Its successor is started at once.
    say('leave');
    drain('disconnect', drainTimeout);
  }

  function askToEnd() {
    if (state === 'drained') {
      // Nothing but the end of its time is left to be told, and the channel is closed.
      return ending.isDue ? ending.exit() : ending.terminate();
    }
    if (state !== 'serving') return;
    state = 'asked';
    patience = setTimeout(askToRetire, SIGNAL_WAIT, 'SIGTERM');
  }

  /** The primary sends SIGTERM as well: the time limit is over. */
  function onTimeUp() {
    const drains = state === 'draining' || worker.state === 'disconnecting';
    // It listens without being ready, so it may have clients: it drains until SIGKILL.
    if (!drains && hasListened && !hasOtherListeners('SIGTERM')) {
      drain('shutdown', drainTimeout);
      Reflect.apply(disconnect, worker, []);
      return;
    }
    if (ending.onTimeUp()) setTimeout(() => ending.terminate(), 0);
  }

  const onMessage = (/** @type {any} */ message) => {
    if (message?.cmd === COMMAND) {
      if (message.act === 'drain') drain(message.reason, message.timeoutMs);
      else if (message.act === 'terminate') onTimeUp();
    } else if (slot !== undefined && message?.cmd === 'NODE_CLUSTER' && message.act === 'disconnect') {
      onDisconnect();
    }
  };
  keepListening('internalMessage', onMessage, 'prependListener');

  if (slot !== undefined) {
    ending.listen();
    // It has lost its primary.
    keepListening('disconnect', () => {
      if (ending.isDue && state !== 'draining') ending.exit();
    });
    defineHidden(worker, 'disconnect', {
      value() {
        if (worker.state !== 'destroying') onDisconnect();
        return Reflect.apply(disconnect, worker, []);
      },
    });
  }
  addExtras(worker, { ready: () => say('ready'), retire, slot });
}

module.exports = { SETTINGS, attach };
