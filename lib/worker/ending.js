'use strict';

const { process } = require('../globals');
const { later } = require('../later');
const { createExitHold, hasOtherListeners, ignoreTerminal, listenBeside } = require('../seam/signals');

/** @type {() => typeof import('./clean-up')} */
const cleaning = later('worker/clean-up');

/** The exit code that a shell reports for a process that SIGTERM has ended. */
const TERMINATED = 143;

/**
 * When this worker's process may end, if both the application and the primary end it: the application handles signals, cleans
 * up, and exits, which must not cut its last requests; and the primary has a time limit.
 */
class Ending {
  /** Whether the primary has ended the wait. */
  #isOver = false;
  /** Whether an exit of the process was held back. */
  #isDue = false;
  /** Whether the application has handled a signal that ends it. */
  #isSignalled = false;
  /** Whether there is nothing left to serve, and the application cleans up. */
  #cleansUp = false;
  /** @type {() => void} */
  #askToEnd;
  #hold = createExitHold(['SIGTERM', 'SIGINT', 'SIGHUP'], (/** @type {any} */ code) =>
    this.#onHeldExit(code),
  );

  /**
   * @param {() => void} askToEnd called when the process should end as soon as it has served its clients: it got SIGTERM, which
   *   the application does not handle, or an exit was held back
   */
  constructor(askToEnd) {
    this.#askToEnd = askToEnd;
  }

  /** Begins to listen for the signals that end the process. */
  listen() {
    const onHandled = () => this.#onHandled();
    ignoreTerminal({ hold: onHandled });
    listenBeside('SIGTERM', (hasOthers) => (hasOthers ? onHandled() : this.#onTerminate()));
  }

  /** Whether the primary has ended the wait. */
  get isOver() {
    return this.#isOver;
  }

  /** Whether the application has asked for the exit. */
  get isDue() {
    return this.#isDue;
  }

  /** Whether the process ends as soon as it has nothing left to serve: no other work has to be waited for. */
  get isAtOnce() {
    // Cleaning up includes that wait.
    return this.#isDue || this.#cleansUp;
  }

  /** The application handles a signal. It decides, but if it only cleans up and exits, that exit is held back. */
  #onHandled() {
    this.#isSignalled = true;
    if (!this.#isOver) this.#hold.hold();
  }

  #onTerminate() {
    // It has cleaned up, and exits or raises the signal again.
    if (this.#cleansUp) this.exit();
    else if (this.#isOver) this.terminate();
    else this.#askToEnd();
  }

  /**
   * An exit was held back that was not the end of the application's work.
   * @param {number | string | null | undefined} code
   */
  #onHeldExit(code) {
    if (code !== undefined && code !== null) process.exitCode = code;
    this.#isDue = true;
    this.#onTerminate();
  }

  /** The time limit of the primary is over. Returns whether the process must end now. */
  onTimeUp() {
    this.#isOver = true;
    this.#hold.release();
    // An application that listens for SIGTERM receives it, and may still act on it, unless it has done so already.
    return this.isAtOnce || !hasOtherListeners('SIGTERM');
  }

  /**
   * There is nothing left to serve. Lets the application clean up as on a signal, unless it has had one.
   * @param {() => void} done called when it has finished
   * @returns {boolean} false if it does nothing on signals, or has done it: `done` is not called
   */
  cleanUp(done) {
    const signal = this.#isSignalled ? undefined : cleaning().handledSignal();
    if (signal === undefined) return false;
    this.#cleansUp = true;
    cleaning().cleanUp(signal, done);
    return true;
  }

  /** @param {number} [code] */
  exit(code) {
    this.#hold.release();
    process.exit(code);
  }

  /** Exits as by SIGTERM. */
  terminate() {
    this.exit(TERMINATED);
  }
}

module.exports = { Ending };
