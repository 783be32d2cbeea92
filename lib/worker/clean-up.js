'use strict';

const { process, setImmediate } = require('../globals');
const { hasOtherListeners } = require('../seam/signals');
const finish = require('./finish');

/** The signals with which process managers end a program. Programs written for pm2 may listen for the second one only. */
const SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT']);

/** The signal that the application listens for, if any. */
function handledSignal() {
  return SIGNALS.find(hasOtherListeners);
}

/**
 * Runs the application's listeners of a signal that ends it, in a worker that has nothing left to serve, and waits until
 * they have finished. Programs that do not know the event 'retire' clean up there, and many of them exit then by themselves.
 *
 * @param {typeof SIGNALS[number]} signal
 * @param {() => void} done
 */
function cleanUp(signal, done) {
  const { constants } = require('node:os');
  finish(done);
  // Their exceptions are uncaught ones, as in a listener that the system calls.
  setImmediate(() => process.emit(signal, signal, constants.signals[signal]));
}

module.exports = { cleanUp, handledSignal };
