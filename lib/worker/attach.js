'use strict';

const cluster = require('node:cluster');
const { JSON, process, realProcess, setTimeout } = require('../globals');
const { loadBinding } = require('../load-binding');
const { improveChannel } = require('../seam/channel');
const seam = require('../seam/worker');
const { trackSessions } = require('../seam/http');
const createListening = require('./listening');
const createDisconnect = require('./disconnect');
const createDrain = require('./drain');
const { linkLocks, linkShared, linked } = require('./extras');
const { createOwnAddresses } = require('./own-address');
const createRetirement = require('./retirement');

/** How long to wait, in ms, before connections are read again after descriptors ran out. */
const NO_ROOM_PAUSE = 20;

/**
 * Connects this worker to its primary and puts rcluster's `listen()` and `disconnect()` in the
 * place of the built-in's.
 *
 * @param {number} firstFd the first of the four descriptors that the primary has left open
 * @param {string[]} own the ports and paths that are this worker's own
 * @param {string | undefined} settings what a supervised worker has to know, as JSON
 */
module.exports = function attach(firstFd, own, settings) {
  const { WorkerLink } = loadBinding();
  const worker = /** @type {import('node:cluster').Worker} */ (cluster.worker);
  improveChannel(realProcess);

  const link = new WorkerLink(
    firstFd,
    (listener, fd, served) => listening.connection(listener, fd, served),
    (text, fd) => {
      const frame = JSON.parse(text);
      if (frame.act === 'reply') listening.answer(frame, fd);
      else retirement.heed(frame);
    },
    () => {
      warnOfExhaustion();
      setTimeout(() => link.resume(), NO_ROOM_PAUSE).unref();
    },
    gone,
  );
  const listening = createListening(cluster, link, createOwnAddresses(own, link), (owner) => {
    retirement.watchServer(owner);
    trackSessions(owner, (session) => {
      retirement.watchSession(session);
      drain.onSession(session);
    });
  });
  listening.tell({ act: 'hello', version: 1 });
  const drain = createDrain(listening, link);
  const closeServer = createDisconnect(link);
  const retirement = createRetirement(worker, {
    tell: listening.tell,
    serves: () => listening.members().length > 0,
    drain: drain.begin,
    leaving: () => link.leaving(),
    standby: (waits) => link.standby(waits),
  });
  if (settings !== undefined) retirement.configure(JSON.parse(settings));
  linked(() => link.slot());
  linkShared(link);
  linkLocks(link);

  /**
   * The primary's native side is gone. When the primary is dead its end of Node's own channel
   * is closed as well, and Node's code ends this worker as it always did. When only our link is
   * cut, the primary no longer knows this worker, so it ends in the same way.
   *
   * @param {string} reason why, when it was not simply the primary's end
   */
  function gone(reason) {
    if (reason !== '') {
      process.emitWarning(`The link to the primary broke: ${reason}`, { code: 'RCLUSTER_LINK' });
    }
    if (process.connected && !worker.exitedAfterDisconnect) process.disconnect?.();
    retirement.orphaned();
  }

  /** @param {boolean} byPrimary whether the primary asked for it */
  function disconnect(byPrimary) {
    worker.exitedAfterDisconnect = true;
    link.leaving();
    listening.closeAll(() => {
      if (!process.connected) return;
      if (byPrimary) process.disconnect?.();
      // The primary has to know that this is by agreement before it sees the channel close.
      else seam.notifyPrimary({ act: 'exitedAfterDisconnect' }, () => process.disconnect?.());
    }, closeServer);
  }

  seam.replaceWorkerSide(cluster, {
    getServer: listening.getServer,
    disconnectedByPrimary: () => disconnect(true),
    disconnect: () => disconnect(false),
  });
};

let exhausted = false;

/** Says once that clients wait for want of descriptors: nothing else tells whoever runs the app. */
function warnOfExhaustion() {
  if (exhausted) return;
  exhausted = true;
  process.emitWarning(
    'New connections wait, because this worker has too few descriptors left: raise its limit of open files (ulimit -n)',
    { code: 'RCLUSTER_EXHAUSTED' },
  );
}
