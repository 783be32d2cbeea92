'use strict';

const diagnostics = require('node:diagnostics_channel');
const {
  Math,
  WeakMap,
  clearInterval,
  clearTimeout,
  monotonic,
  setInterval,
  setTimeout,
} = require('../globals');
const seamHttp = require('../seam/http');
const seamKept = require('../seam/kept');
const { allowClose, isHttp1, isHttp2 } = require('../seam/servers');
const createGoaway = require('./goaway');
const { acceptTheRest } = require('./own-address');

/** How long, in ms, a connection that cannot be handed over may stay idle before it is closed. */
const GRACE = 1000;

/** The same if other workers stay. In that case, nothing waits for this worker to end. */
const PATIENCE = 3000;

/** How often, in ms, the connections are checked. */
const LOOK = 50;

/** How often, in ms, the next batch is handed over while some are left. */
const PACE = 5;

/** How many are handed over at a time. */
const BATCH = 32;

/**
 * Finishes the connections and requests of a worker.
 *
 * A client that keeps its connection may send the next request at any moment, even while this side is closing
 * the connection, and then that request fails. So an idle connection is closed only as a last resort. If it
 * is plain HTTP that came from the primary, and no state is attached to it, it is handed over to another
 * worker through the primary, with any bytes that are waiting in it; the client does not notice. This takes
 * as long as the other workers need to accept them. On other connections the next answer says
 * `Connection: close`, and only one that stays idle for a while, with nothing waiting to be read, is closed.
 *
 * @param {ReturnType<typeof import('./listening')>} listening
 * @param {import('../../binding').WorkerLink} link
 */
module.exports = function createDrain(listening, link) {
  const leaveSession = createGoaway(link);
  /** The grace in ms for clients of HTTP/2; null while nothing is drained. @type {number | null} */
  let sessionGrace = null;
  /** Whether the last handover failed: the link to the primary is broken, or descriptors have run out. */
  let failing = false;

  /**
   * Stops taking connections, and finishes the open ones.
   *
   * @param {object} options
   * @param {number} options.timeout in ms; Infinity for none
   * @param {boolean} options.handOver whether other workers can take over idle connections
   * @param {() => void} done called once all connections have ended
   */
  function begin({ timeout, handOver }, done) {
    const grace = Math.min(GRACE, timeout / 2);
    sessionGrace = grace;
    const patience = Math.min(handOver ? PATIENCE : GRACE, timeout / 2);
    const members = listening.members();
    diagnostics.subscribe(seamHttp.REQUEST_START, seamHttp.closeOnRequest);

    /** @type {Idle[]} the connections that may be handed over, as of the last check */
    let movable = [];
    /** @type {WeakMap<object, { at: number, bytesRead: number }>} since when sockets have been idle */
    const idleSince = new WeakMap();
    const idleFor = (/** @type {any} */ { socket, bytesRead }, /** @type {number} */ now) => {
      const since = idleSince.get(socket);
      if (since !== undefined && since.bytesRead === bytesRead) return now - since.at;
      idleSince.set(socket, { at: now, bytesRead });
      return 0;
    };
    // From then on, idle connections are closed instead, so that their clients can react before this process
    // is killed.
    const last = monotonic() + timeout - patience;
    const look = () => {
      const now = monotonic();
      movable = [];
      for (const idle of members.flatMap(idleConnections)) {
        const isLate = idleFor(idle, now) >= patience;
        if (handOver && now < last && !(isLate && failing) && canMove(idle)) movable.push(idle);
        else if (isLate && seamHttp.nothingWaits(idle.socket, link)) idle.socket.destroySoon();
      }
      pump();
    };
    /** @type {NodeJS.Timeout | undefined} */
    let pace;
    const pump = () => {
      clearTimeout(pace);
      movable = handOverSome(movable);
      if (movable.length > 0) pace = setTimeout(pump, PACE).unref();
    };
    const timer = setInterval(look, LOOK);
    timer.unref();

    const closeAll = () =>
      listening.closeAll(
        () => {
          clearInterval(timer);
          clearTimeout(pace);
          diagnostics.unsubscribe(seamHttp.REQUEST_START, seamHttp.closeOnRequest);
          done();
        },
        (member, closed) => close(member, grace, closed),
        members,
      );
    // If other workers stay, they take the connections that are still in flight to this one. If all workers
    // leave, there are none.
    if (handOver) {
      closeAll();
    } else {
      acceptTheRest(members, link, closeAll);
    }
    look();
  }

  /**
   * @param {import('./listening').Member} member
   * @param {number} grace
   * @param {() => void} closed called once the server is closed and its connections have ended
   */
  function close({ owner, handle, kind }, grace, closed) {
    if (!owner) return handle.close(closed);
    if (kind === 'udp') return closeDatagrams(owner, handle, grace, closed);
    if (isHttp1(owner) || isHttp2(owner)) seamHttp.closeServer(owner, closed);
    else owner.close(closed);
    allowClose(owner);
    if (isHttp2(owner)) for (const session of seamHttp.sessionsOf(owner)) leaveSession(session, grace);
  }

  /**
   * A session of HTTP/2 begins. Its connection may have been accepted before the drain, or belong to another
   * server.
   *
   * @param {any} session
   */
  function onSession(session) {
    if (sessionGrace !== null) leaveSession(session, sessionGrace);
  }

  /**
   * Other workers receive the datagrams from now on. The socket stays open a little longer for answers.
   *
   * @param {any} socket
   * @param {any} handle
   * @param {number} grace
   * @param {() => void} closed
   */
  function closeDatagrams(socket, handle, grace, closed) {
    socket.once('close', () => {
      allowClose(socket, true);
      closed();
    });
    handle.recvStop();
    const timer = setTimeout(() => socket.close(), grace);
    // The application may close it earlier.
    socket.once('close', () => clearTimeout(timer));
  }

  /**
   * An idle connection.
   *
   * @typedef {object} Idle
   * @property {any} socket
   * @property {import('./listening').Member} member
   * @property {number} bytesRead from it when it was found idle
   */

  /**
   * The idle HTTP/1 connections of a server. Those with a pending answer are set to close after it.
   *
   * @param {import('./listening').Member} member
   * @returns {Idle[]}
   */
  function idleConnections(member) {
    const { owner } = member;
    if (!owner || !(isHttp1(owner) || isHttp2(owner))) return [];
    const found = [];
    for (const { socket, response, idle } of seamHttp.connectionsOf(owner)) {
      if (response) seamHttp.closeAfter(response);
      if (idle) found.push({ socket, member, bytesRead: socket.bytesRead });
    }
    return found;
  }

  /**
   * Whether another worker can take over a connection. It needs another member of the listener that has room.
   *
   * @param {Idle} idle
   */
  function canMove({ socket, member: { listener, looks } }) {
    return listener !== undefined && link.handOverRoom() >= 0 && seamKept.isMovable(socket, listener, looks);
  }

  /**
   * Hands over as many connections as other workers have room for. Nothing is read between the check and the
   * handover: what arrives stays in the socket.
   *
   * @param {Idle[]} idle
   * @returns {Idle[]} those that are left
   */
  function handOverSome(idle) {
    let size = BATCH;
    let next = 0;
    while (next < idle.length) {
      const { member } = idle[next];
      const room = Math.min(size, link.handOverRoom());
      const begin = next;
      const batch = [];
      for (; next < idle.length && idle[next].member === member && batch.length < room; next++) {
        if (isStillIdle(idle[next])) batch.push(idle[next].socket);
      }
      if (room <= 0) break;
      if (batch.length === 0) continue;
      if (listening.handOver(member, batch)) {
        // This closes only this worker's own descriptors.
        for (const socket of batch) socket.destroy();
        failing = false;
      } else {
        next = begin;
        // The duplicates may need too many descriptors, for example, so connections are then tried one by
        // one.
        failing = size === 1;
        if (failing) break;
        size = 1;
      }
    }
    return idle.slice(next);
  }

  return { begin, onSession };
};

/** @param {{ socket: any, bytesRead: number }} idle */
function isStillIdle({ socket, bytesRead }) {
  return !socket.destroyed && socket._httpMessage == null && socket.bytesRead === bytesRead;
}
