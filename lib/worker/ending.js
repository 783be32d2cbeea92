'use strict';

const { process } = require('../globals');
const { later } = require('../later');
const { createExitHold, hasOtherListeners, ignoreTerminal, listenBeside } = require('../seam/signals');

/** @type {() => typeof import('./clean-up')} */
const cleaning = later('worker/clean-up');

/** The exit code that a shell reports for a process that SIGTERM has ended. */
const TERMINATED = 143;

/**
 * When this worker's process may end. The application handles signals, cleans up, and exits, but that exit must not cut off its
 * last requests; and the primary has a time limit.
 */
class Ending {
  /** Whether the primary has ended the wait. */
  #isOver = false;
  #isDue = false;
  /** Whether the application has handled a signal that ends it. */
  #isSignalled = false;
  /** Whether there is nothing left to serve, and the application cleans up. */
  #cleansUp = false;
  /** @type {() => void} */
  #askToEnd;
  #hold = createExitHold(['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP'], (/** @type {any} */ code) =>
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

  /** Whether an exit of the process was held back. */
  get isDue() {
    return this.#isDue;
  }

  /** Whether the process may end without waiting for other work: the application has said so, or that wait is over. */
  get needsNoWait() {
    // Cleaning up includes the wait.
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
    return this.needsNoWait || !hasOtherListeners('SIGTERM');
  }

  /**
   * There is nothing left to serve. Lets the application clean up as on a signal, unless it has handled one already.
   * @param {() => void} done called when it has finished, at once if it has nothing to clean up
   * @param {() => void} [before] called first, if it has
   */
  cleanUp(done, before) {
    const signal = this.#isSignalled ? undefined : cleaning().handledSignal();
    if (signal === undefined) return done();
    this.#cleansUp = true;
    before?.();
    cleaning().cleanUp(signal, done);
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
