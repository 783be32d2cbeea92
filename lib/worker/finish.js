'use strict';

const { Number, clearInterval, monotonic, process, setInterval } = require('../globals');
const { Work } = require('../seam/work');

/** How long, in ms, a worker with nothing left to serve may take to end by itself. */
const GRACE = 1000;

/** How often, in ms, this is checked. */
const LOOK = 25;

/**
 * Waits until a worker that has nothing left to serve has finished all work. Timers and idle connections
 * would keep a process alive forever, but work that a request has started should complete. So there is a
 * grace period, after which the worker waits only for work in progress. If the event loop empties meanwhile,
 * the process ends by itself and `done` is never called.
 *
 * @param {() => void} done
 */
function finish(done) {
  const begin = monotonic();
  const work = new Work();
  let saidBeforeExit = false;
  const timer = setInterval(() => {
    const isBusy = work.isInProgress();
    if (isBusy || monotonic() - begin < GRACE) return;
    // Listeners of 'beforeExit' run as if the process were ending by itself, and may start more work.
    if (!saidBeforeExit && process.listenerCount('beforeExit') > 0) {
      saidBeforeExit = true;
      process.emit('beforeExit', Number(process.exitCode ?? 0));
      return;
    }
    clearInterval(timer);
    done();
  }, LOOK);
  timer.unref();
}

module.exports = finish;
