'use strict';

// Signals that libraries listen for as well. Most libraries only clean up, and then raise the signal again or
// exit with its code, so that it has its usual effect. `signal-exit` does so only if it is the only listener,
// and otherwise waits for the end of the process.

const {
  Number,
  Object,
  Symbol,
  WeakSet,
  nextTick,
  process,
  realGlobal,
  realProcess,
  Reflect,
  setImmediate,
} = require('../globals');

/**
 * The number of listeners of a signal that do nothing while there are other listeners: each loaded version of
 * `signal-exit` has one for every signal, and is counted here.
 */
function passiveListeners() {
  const counters = [
    /** @type {any} */ (realGlobal)[Symbol.for('signal-exit emitter')],
    /** @type {any} */ (realProcess).__signal_exit_emitter__,
  ];
  return counters.map((counter) => Number(counter?.count) || 0).reduce((sum, count) => sum + count, 0);
}

/**
 * Whether any listener other than ours acts on a signal.
 *
 * @param {NodeJS.Signals} signal
 */
function hasOtherListeners(signal) {
  const ours = process.listeners(signal).filter((listener) => own.has(listener)).length;
  return process.listenerCount(signal) - ours > passiveListeners();
}

/** Node's event for a listener that has been removed. */
const REMOVED = /** @type {any} */ ('removeListener');

/** @type {WeakSet<Function>} */
const own = new WeakSet();

/**
 * Listens for a signal in addition to the application. Our listener is called first, is restored when all
 * listeners are removed, and is not in the list while the others run, so that code that looks for other
 * listeners finds what it would find without us.
 *
 * @param {NodeJS.Signals} signal
 * @param {(hasOthers: boolean) => void} act `hasOthers` is whether another listener acts on the signal
 * @returns {() => void} a function that stops listening
 */
function listenBeside(signal, act) {
  let open = true;

  function listener() {
    const hasOthers = hasOtherListeners(signal);
    if (hasOthers) {
      process.removeListener(signal, listener);
      nextTick(listen);
    }
    act(hasOthers);
  }
  own.add(listener);

  function listen() {
    if (open && !process.listeners(signal).includes(listener)) process.prependListener(signal, listener);
  }

  // Without a listener, the signal ends the process. Node stops listening for a signal when its last listener
  // is removed, and starts with a listener of its own, which process.removeAllListeners() removes. So ours
  // must be restored before Node checks, and again after all listeners have been removed.
  const onRemoved = (/** @type {string | symbol} */ event) => {
    if (event !== signal || process.listenerCount(signal) > 0) return;
    listen();
    nextTick(restore);
  };

  function restore() {
    if (!open) return;
    if (!process.listeners(REMOVED).includes(onRemoved)) process.prependListener(REMOVED, onRemoved);
    listen();
  }

  restore();
  return () => {
    open = false;
    process.removeListener(REMOVED, onRemoved);
    process.removeListener(signal, listener);
  };
}

/**
 * Makes a worker ignore the signals of the terminal, which sends them to the whole process group: the primary decides what
 * they mean.
 *
 * @param {{ hold(): void }} exits held back if a library acts on such a signal
 */
function ignoreTerminal(exits) {
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGQUIT', 'SIGHUP'])) {
    listenBeside(signal, (hasOthers) => hasOthers && exits.hold());
  }
}

/**
 * Keeps a process that has received a signal from ending too early. It holds back: one of these signals that
 * the process sends to itself, an exit with the code of one of them, and any exit in the same turn of the
 * event loop.
 *
 * @param {NodeJS.Signals[]} signals
 * @param {(code: number | string | null | undefined) => void} onHeld called for each; the code is undefined if it only
 * means that a signal has arrived
 */
function createExitHold(signals, onHeld) {
  /** @type {number[]} the numbers of the signals, read at the first hold: few processes need node:os before */
  let numbers = [];
  /** @type {{ exit: typeof process.exit, kill: typeof process.kill } | undefined} */
  let originals;
  let sameTurn = false;

  /** @param {any} code */
  function exit(code) {
    const stands = numbers.some((number) => Number(code ?? process.exitCode) === 128 + number);
    if (stands || sameTurn) return onHeld(stands ? undefined : code);
    // Other code may have kept our function, and call it after the hold.
    return Reflect.apply(originals?.exit ?? process.exit, realProcess, [code]);
  }

  /**
   * @param {number} pid
   * @param {any} signal
   */
  function kill(pid, signal = 'SIGTERM') {
    const raised = pid === process.pid && (signals.includes(signal) || numbers.includes(signal));
    if (!raised || !originals) {
      return Reflect.apply(originals?.kill ?? process.kill, realProcess, [pid, signal]);
    }
    onHeld(undefined);
    return true;
  }

  return {
    hold() {
      sameTurn = true;
      setImmediate(() => (sameTurn = false));
      if (originals) return;
      const { constants } = require('node:os');
      numbers = signals.map((signal) => constants.signals[signal]);
      originals = { exit: realProcess.exit, kill: realProcess.kill };
      Object.assign(realProcess, { exit, kill });
    },
    release() {
      if (!originals) return;
      // Other code may have replaced our function.
      if (/** @type {any} */ (realProcess.exit) === exit) realProcess.exit = originals.exit;
      if (/** @type {any} */ (realProcess.kill) === kill) realProcess.kill = originals.kill;
      if (realProcess.exit === originals.exit && realProcess.kill === originals.kill) originals = undefined;
    },
  };
}

module.exports = { listenBeside, ignoreTerminal, hasOtherListeners, createExitHold };
