'use strict';

// Signals for which libraries listen as well. Most only clean up, and then raise the signal again or exit with its code, so
// that it does what it would have done without them. `signal-exit` does so only where it is the only listener, and
// otherwise waits for the end of the process.

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
const os = require('node:os');

/**
 * How many listeners of a signal do nothing as long as there are others: the versions of `signal-exit` have one each for
 * every signal, and count them here.
 */
function passiveListeners() {
  const counters = [
    /** @type {any} */ (realGlobal)[Symbol.for('signal-exit emitter')],
    /** @type {any} */ (realProcess).__signal_exit_emitter__,
  ];
  return counters.map((counter) => Number(counter?.count) || 0).reduce((sum, count) => sum + count, 0);
}

/**
 * Whether anybody but one listener of ours acts on a signal.
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
 * Listens for a signal beside an application. Our listener is called first, comes back when all are removed, and is not
 * in the list while others are called: who looks whether there is another one finds what there would be without us.
 *
 * @param {NodeJS.Signals} signal
 * @param {(hasOthers: boolean) => void} act `hasOthers` is whether anybody else acts on the signal
 * @returns {() => void} listens no more
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

  // Without a listener the signal ends the process. Node stops to listen for a signal when nobody else does, and starts by a
  // listener of its own, which process.removeAllListeners() removes: so ours has to be back before Node looks, and once
  // more when all is removed.
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
 * Keeps a process that has got a signal from ending before its time. Held back are: a signal of these that it sends
 * itself, an exit with the code that stands for one of them, and each exit in the same turn of the event loop.
 *
 * @param {NodeJS.Signals[]} signals
 * @param {(code: number | string | null | undefined) => void} onHeld told of each; the code is undefined if it says no
 * more than that a signal has come
 */
function createExitHold(signals, onHeld) {
  const numbers = signals.map((signal) => os.constants.signals[signal]);
  /** @type {{ exit: typeof process.exit, kill: typeof process.kill } | undefined} */
  let originals;
  let sameTurn = false;

  /** @param {any} code */
  function exit(code) {
    const stands = numbers.some((number) => Number(code ?? process.exitCode) === 128 + number);
    if (stands || sameTurn) return onHeld(stands ? undefined : code);
    return originals && Reflect.apply(originals.exit, realProcess, [code]);
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
      originals = { exit: realProcess.exit, kill: realProcess.kill };
      Object.assign(realProcess, { exit, kill });
    },
    release() {
      if (!originals) return;
      // Somebody may have put another function in the place of ours.
      if (/** @type {any} */ (realProcess.exit) === exit) realProcess.exit = originals.exit;
      if (/** @type {any} */ (realProcess.kill) === kill) realProcess.kill = originals.kill;
      if (realProcess.exit === originals.exit && realProcess.kill === originals.kill) originals = undefined;
    },
  };
}

/**
 * Listens for an event of `process` also after the application has removed all its listeners.
 *
 * @param {string} event
 * @param {(...args: any[]) => void} listener
 */
function keepListening(event, listener) {
  const name = /** @type {any} */ (event);
  const onRemoved = (/** @type {any} */ _, /** @type {unknown} */ removed) => {
    if (removed === listener) nextTick(restore);
  };

  function restore() {
    if (!process.listeners(REMOVED).includes(onRemoved)) process.on(REMOVED, onRemoved);
    if (!process.listeners(name).includes(listener)) process.on(name, listener);
  }

  restore();
}

module.exports = { keepListening, listenBeside, hasOtherListeners, createExitHold };
