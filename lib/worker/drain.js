'use strict';

const diagnostics = require('node:diagnostics_channel');
const seam = require('../seam/worker');
const seamHttp = require('../seam/http');

/** How long, in ms, a connection that cannot be handed over may stay idle before it is closed. */
const GRACE = 1000;

/** How often, in ms, the connections are looked at. */
const LOOK = 50;

/**
 * How many idle connections are handed over to others at the most, and how many at a time. The primary takes back no
 * more than a few windows' worth at one go, and all of them need descriptors there for a moment.
 */
const HAND_OVER = 512;
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
 * another way. If it is plain HTTP that came from the primary it goes back there, with all that may be waiting in it,
 * and another worker goes on with it: the client notices nothing. Elsewhere the next answer says `Connection: close`,
 * and only what stays idle for a while, with nothing waiting to be read, is closed.
 *
 * @param {ReturnType<typeof import('./listening')>} listening
 * @param {import('../../binding').WorkerLink} link
 */
module.exports = function createDrain(listening, link) {
  let handedOver = 0;

  /**
   * Takes no more connections, and finishes.
   *
   * @param {object} options
   * @param {number} options.timeout in ms; Infinity for none
   * @param {boolean} options.handOver whether other workers can take over idle connections
   * @param {() => void} done called once all connections have ended
   */
  function drain({ timeout, handOver }, done) {
    const grace = Math.min(GRACE, timeout / 2);
    const members = listening.members();
    diagnostics.subscribe(REQUEST_START, onRequest);

    /** @type {WeakMap<object, number>} since when sockets have been idle */
    const idleSince = new WeakMap();
    const look = () => {
      for (const member of members) lookAt(member, { grace, handOver, idleSince });
    };
    const timer = setInterval(look, LOOK);
    timer.unref();

    listening.closeAll(
      () => {
        clearInterval(timer);
        diagnostics.unsubscribe(REQUEST_START, onRequest);
        done();
      },
      (member, closed) => close(member, grace, closed),
    );
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
   * Tells the client of an HTTP/2 session that its next requests belong elsewhere. It closes the connection when it
   * has its answers; if it does not, we do.
   *
   * @param {any} session
   * @param {number} grace
   */
  function leaveSession(session, grace) {
    if (session.closed || session.destroyed) return;
    session.goaway();
    const timer = setTimeout(() => session.close(), grace);
    session.once('close', () => clearTimeout(timer));
  }

  /**
   * Looks what is to be done about each HTTP/1 connection of a server.
   *
   * @param {import('./listening').Member} member
   * @param {{ grace: number, handOver: boolean, idleSince: WeakMap<object, number> }} options
   */
  function lookAt({ listener, owner, shared }, { grace, handOver, idleSince }) {
    if (!owner || !(seamHttp.isHttp1(owner) || seamHttp.isHttp2(owner))) return;
    // Where this worker accepts by itself there is nobody to give anything back to.
    const givesBack = handOver && !shared;
    const movable = [];
    const now = performance.now();
    for (const { socket, response, idle } of seamHttp.connectionsOf(owner)) {
      if (response) seamHttp.closeAfter(response);
      if (!idle) {
        idleSince.delete(socket);
        continue;
      }
      const since = idleSince.get(socket) ?? now;
      idleSince.set(socket, since);
      const late = now - since >= grace;
      if (givesBack && !late && seam.isFromPrimary(socket._handle) && handedOver < HAND_OVER) {
        handedOver++;
        movable.push(socket);
        continue;
      }
      if (late && nothingWaits(socket)) socket.destroySoon();
    }
    if (listener !== undefined) move(listener, movable);
  }

  /** @param {any} socket */
  function nothingWaits(socket) {
    const fd = seamHttp.descriptorOf(socket);
    return fd < 0 || link.unread(fd) === 0;
  }

  /**
   * Gives connections back to the primary. Nothing is read between the two steps: what arrives stays in the socket.
   *
   * @param {number} listener
   * @param {any[]} sockets
   */
  function move(listener, sockets) {
    for (let begin = 0; begin < sockets.length; begin += BATCH) {
      const batch = sockets.slice(begin, begin + BATCH);
      if (listening.handOver(listener, batch.map(seamHttp.descriptorOf))) {
        // Only this worker's own descriptors are closed by it.
        for (const socket of batch) socket.destroy();
      } else {
        // Without descriptors for the duplicates, say. The next look tries again.
        handedOver -= batch.length;
      }
    }
  }

  return drain;
};
