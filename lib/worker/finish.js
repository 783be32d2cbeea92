'use strict';

const { Number, clearInterval, monotonic, process, setInterval } = require('../globals');
const { Work } = require('../seam/work');

/** How long, in ms, a worker that has nothing left to serve may take to end by itself. */
const GRACE = 1000;

/** How often, in ms, it is looked at. */
const LOOK = 25;

/**
 * Waits until a worker that has nothing left to serve has nothing left to do either. Timers and idle connections keep a
 * process for ever; what a request has begun and not finished deserves its end. So there is a grace, and then whatever is
 * in progress is waited for. If the event loop runs empty meanwhile, the process ends by itself, and this is never over.
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
    // What is done at the end of a process that ends by itself is done here, too, and may be something to wait for.
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
