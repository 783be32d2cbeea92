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
const createGoaway = require('./goaway');
const { acceptTheRest } = require('./own-address');

/** How long, in ms, a connection that cannot be handed over may stay idle before it is closed. */
const GRACE = 1000;

/** The same where other workers stay: then nobody waits for this one to end. */
const PATIENCE = 3000;

/** How often, in ms, the connections are looked at. */
const LOOK = 50;

/** How often, in ms, more of them are handed over while there are some left. */
const PACE = 5;

/** How many are handed over at a time. */
const BATCH = 32;

/** An answer begins: Node tells of each on this channel. */
const REQUEST_START = 'http.server.request.start';

/** @param {unknown} message */
function onRequest(message) {
  seamHttp.closeAfter(/** @type {{ response: any }} */ (message).response);
}

/**
 * Finishes what a worker has begun.
 *
 * A client that keeps its connection may send the next request at any moment, also at the very moment in which the
 * connection is closed on this side, and then that request fails. So an idle connection is not closed if there is
 * another way. If it is plain HTTP that came from the primary, and nothing is remembered about it, it goes back there, with
 * all that may be waiting in it, and another worker goes on with it: the client notices nothing. This takes as long as
 * others need to take them. Elsewhere the next answer says `Connection: close`, and only what stays idle for a while,
 * with nothing waiting to be read, is closed.
 *
 * @param {ReturnType<typeof import('./listening')>} listening
 * @param {import('../../binding').WorkerLink} link
 */
module.exports = function createDrain(listening, link) {
  const leaveSession = createGoaway(link);
  /** How long a client of HTTP/2 has; null while nothing is drained. @type {number | null} */
  let sessionGrace = null;
  /** The last connection could not be handed over: the link to the primary is broken, or descriptors have run out. */
  let failing = false;

  /**
   * Takes no more connections, and finishes.
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
    diagnostics.subscribe(REQUEST_START, onRequest);

    /** @type {Idle[]} what may be handed over, of the last look */
    let movable = [];
    /** @type {WeakMap<object, { at: number, bytesRead: number }>} since when sockets have been idle */
    const idleSince = new WeakMap();
    const idleFor = (/** @type {any} */ { socket, bytesRead }, /** @type {number} */ now) => {
      const since = idleSince.get(socket);
      if (since !== undefined && since.bytesRead === bytesRead) return now - since.at;
      idleSince.set(socket, { at: now, bytesRead });
      return 0;
    };
    // What has found nobody until then is closed, so that its client hears of it before this process is forced to end.
    const last = monotonic() + timeout - patience;
    const look = () => {
      const now = monotonic();
      movable = [];
      for (const idle of members.flatMap(idleConnections)) {
        const isLate = idleFor(idle, now) >= patience;
        if (handOver && now < last && !(isLate && failing) && canMove(idle)) movable.push(idle);
        else if (isLate && nothingWaits(idle.socket)) idle.socket.destroySoon();
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
          diagnostics.unsubscribe(REQUEST_START, onRequest);
          done();
        },
        (member, closed) => close(member, grace, closed),
        members,
      );
    // Others would take what is still on its way here. When all go there are none.
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
   * @param {() => void} closed called once it is closed and its connections have ended
   */
  function close({ owner, handle, kind }, grace, closed) {
    if (!owner) return handle.close(closed);
    if (kind === 'udp') return closeDatagrams(owner, handle, grace, closed);
    if (seamHttp.isHttp2(owner)) {
      seamHttp.closeServer(owner, closed);
      for (const session of seamHttp.sessionsOf(owner)) leaveSession(session, grace);
      return;
    }
    if (seamHttp.isHttp1(owner)) return seamHttp.closeServer(owner, closed);
    owner.close(closed);
  }

  /**
   * A session of HTTP/2 begins: its connection may have been taken before the drain, or be that of another server.
   *
   * @param {any} session
   */
  function onSession(session) {
    if (sessionGrace !== null) leaveSession(session, sessionGrace);
  }

  /**
   * Other workers get the datagrams from now on. The socket stays a little longer, for answers.
   *
   * @param {any} socket
   * @param {any} handle
   * @param {number} grace
   * @param {() => void} closed
   */
  function closeDatagrams(socket, handle, grace, closed) {
    socket.once('close', closed);
    handle.recvStop();
    const timer = setTimeout(() => socket.close(), grace);
    // The application may be quicker.
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
   * The idle HTTP/1 connections of a server. Those that have an answer to come are told to close after it.
   *
   * @param {import('./listening').Member} member
   * @returns {Idle[]}
   */
  function idleConnections(member) {
    const { owner } = member;
    if (!owner || !(seamHttp.isHttp1(owner) || seamHttp.isHttp2(owner))) return [];
    const found = [];
    for (const { socket, response, idle } of seamHttp.connectionsOf(owner)) {
      if (response) seamHttp.closeAfter(response);
      if (idle) found.push({ socket, member, bytesRead: socket.bytesRead });
    }
    return found;
  }

  /**
   * Whether another worker can go on with a connection. While nobody else listens there it would be given to nobody.
   *
   * @param {Idle} idle
   */
  function canMove({ socket, member: { listener, looks } }) {
    return listener !== undefined && link.handOverRoom() >= 0 && seamKept.isMovable(socket, listener, looks);
  }

  /** @param {any} socket */
  function nothingWaits(socket) {
    const fd = seamHttp.descriptorOf(socket);
    return fd < 0 || link.unread(fd) === 0;
  }

  /**
   * Hands over as many connections as others have room for just now. Nothing is read between the two steps: what arrives
   * stays in the socket.
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
        // Only this worker's own descriptors are closed by it.
        for (const socket of batch) socket.destroy();
        failing = false;
      } else {
        next = begin;
        // Descriptors for so many duplicates have run out, say.
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
