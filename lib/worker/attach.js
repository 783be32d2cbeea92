'use strict';

const cluster = require('node:cluster');
const path = require('node:path');
const { defineHidden } = require('../define');
const { JSON, process, realProcess, setTimeout } = require('../globals');
const { keep, later } = require('../later');
const { loadBinding } = require('../load-binding');
const { improveChannel } = require('../seam/channel');
const { isHttp2 } = require('../seam/servers');
const seam = require('../seam/worker');
const createListening = require('./listening');
const { linked } = require('./extras');

/** Modules needed only for draining, supervision or heavy messaging; none is needed at start. */
const LATER = [
  'errors',
  'examine',
  'seam/gather',
  'seam/handles',
  'seam/http',
  'seam/kept',
  'seam/signals',
  'seam/work',
  'stderr',
  'text',
  'worker/announce',
  'worker/clean-up',
  'worker/disconnect',
  'worker/drain',
  'worker/ending',
  'worker/exchanges',
  'worker/finish',
  'worker/goaway',
  'worker/kept',
  'worker/own-address',
  'worker/retirement',
];

/** @type {() => typeof import('../examine')} */
const examine = later('examine');
/** @type {() => typeof import('../seam/http')} */
const http = later('seam/http');
/** @type {() => typeof import('./disconnect')} */
const createDisconnect = later('worker/disconnect');
/** @type {() => typeof import('./drain')} */
const createDrain = later('worker/drain');
/** @type {() => typeof import('./retirement')} */
const createRetirement = later('worker/retirement');

/** How long to wait, in ms, before connections are read again after descriptors ran out. */
const NO_ROOM_PAUSE = 20;

/**
 * Connects this worker to its primary, and replaces the built-in's `listen()` and `disconnect()` by
 * rcluster's.
 *
 * @param {number} firstFd the first of the four descriptors that the primary has left open
 * @param {string[]} own this worker's own ports and paths
 * @param {string | undefined} settings the settings of a supervised worker, as JSON
 */
module.exports = function attach(firstFd, own, settings) {
  const { WorkerLink } = loadBinding();
  const worker = /** @type {import('node:cluster').Worker} */ (cluster.worker);
  keep(LATER);
  improveChannel(realProcess);

  /** @type {ReturnType<typeof import('./drain')> | undefined} once a drain has begun */
  let draining;
  /** @type {ReturnType<typeof import('./retirement')> | undefined} once needed */
  let retiring;

  const link = new WorkerLink(
    firstFd,
    path.dirname(__dirname),
    (listener, fd, served) => listening.connection(listener, fd, served),
    (text, fd) => {
      const frame = JSON.parse(text);
      if (frame.act === 'reply') listening.answer(frame, fd);
      else if (frame.act === 'examine') void examine().examine(frame, fd);
      else retirement().heed(frame);
    },
    () => {
      warnOfExhaustion();
      setTimeout(() => link.resume(), NO_ROOM_PAUSE).unref();
    },
    gone,
  );
  /** Whether a server has listened. It may be closed by now, and still have connections. */
  let hasListened = false;
  const listening = createListening(cluster, link, own, (owner) => {
    hasListened = true;
    retiring?.watchServer(owner);
    if (!isHttp2(owner)) return;
    http().trackSessions(owner, (session) => {
      retiring?.watchSession(session);
      draining?.onSession(session);
    });
  });
  listening.tell({ act: 'hello', version: 1 });

  function retirement() {
    retiring ??= createRetirement()(worker, {
      tell: listening.tell,
      serves: () => hasListened || listening.members().length > 0,
      drain(options, done) {
        draining = createDrain()(listening, link);
        draining.begin(options, done);
      },
      leaving: () => link.leaving(),
      standby: (waits) => link.standby(waits),
    });
    return retiring;
  }

  function ready() {
    retirement().ready();
  }

  /** @param {[reason?: string]} args */
  function retire(...args) {
    retirement().retire(...args);
  }

  defineHidden(worker, 'slot', { get: () => retiring?.slot() });
  defineHidden(worker, 'ready', { value: ready });
  defineHidden(worker, 'retire', { value: retire });
  if (settings !== undefined) retirement().configure(JSON.parse(settings));
  linked(link);

  /**
   * The primary's native side is gone. If the primary is dead, its end of Node's IPC channel is closed as
   * well, and Node's code ends this worker. If only our link is broken, the primary no longer knows this
   * worker, so it ends in the same way.
   *
   * @param {string} reason the cause; empty if the primary has simply ended
   */
  function gone(reason) {
    if (reason !== '') {
      process.emitWarning(`The link to the primary broke: ${reason}`, { code: 'RCLUSTER_LINK' });
    }
    if (process.connected && !worker.exitedAfterDisconnect) process.disconnect?.();
    retiring?.orphaned();
  }

  /**
   * Under supervision, this is a drain, which the primary may have ordered already. Without, it is what the built-in
   * does, which closes idle connections.
   *
   * @param {boolean} byPrimary whether the primary requested it
   */
  function disconnect(byPrimary) {
    if (settings !== undefined) return retirement().disconnect();
    worker.exitedAfterDisconnect = true;
    link.leaving();
    listening.closeAll(() => {
      if (!process.connected) return;
      if (byPrimary) process.disconnect?.();
      // The primary must know that this is intended before it sees the channel close.
      else seam.notifyPrimary({ act: 'exitedAfterDisconnect' }, () => process.disconnect?.());
    }, createDisconnect()(link));
  }

  seam.replaceWorkerSide(cluster, {
    getServer: listening.getServer,
    disconnectedByPrimary: () => disconnect(true),
    disconnect: () => disconnect(false),
  });
};

let exhausted = false;

/** Warns once that clients wait because descriptors have run out: nothing else reports this to the operator. */
function warnOfExhaustion() {
  if (exhausted) return;
  exhausted = true;
  process.emitWarning(
    'New connections wait, because this worker has too few descriptors left: raise its limit of open files (ulimit -n)',
    { code: 'RCLUSTER_EXHAUSTED' },
  );
}
