'use strict';

const { Buffer, clearTimeout, setImmediate, setTimeout } = require('../globals');
const seamHttp = require('../seam/http');

/** How often, in ms, to try again to write where there was no room. */
const RETRY = 5;

/**
 * GOAWAY with the highest possible last stream, which RFC 9113 (6.8) has a server send first: it tells the client to begin
 * nothing more, and refuses nothing that is on its way.
 */
const NOTICE = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

/**
 * Tells the clients of HTTP/2 sessions that their next requests belong elsewhere.
 *
 * Node can send a GOAWAY with any last stream, but the library under it takes each as the final one, and drops without a
 * word what the client begins afterwards. So the notice is written past it, where that can be done: on a connection
 * without TLS, between two frames. A PING follows; when it comes back, whatever the client has begun before it knew
 * has arrived, and the true GOAWAY is sent. With TLS there is only the true one.
 *
 * Either is sent while the client waits for an answer, if it asks for anything in time: so it knows before it begins its
 * next request. A client that is just about to send one when it hears of a GOAWAY, whatever that names, may have to fail it.
 *
 * @param {import('../../binding').WorkerLink} link
 */
module.exports = function createGoaway(link) {
  /**
   * @param {any} session
   * @param {number} grace in ms, after which the client has had time enough; it then has no more than its open streams
   */
  return function leaveSession(session, grace) {
    if (session.closed || session.destroyed) return;
    let begun = false;
    let final = false;
    /** @type {NodeJS.Timeout | undefined} */
    let retry;

    const isOver = () => final || session.closed || session.destroyed;
    const sayLast = () => {
      if (isOver()) return;
      final = true;
      session.goaway();
    };
    const notice = () => {
      if (isOver()) return;
      if (!writeNotice(session)) {
        retry = setTimeout(notice, RETRY);
        return;
      }
      // An error means that the session has ended.
      session.ping((/** @type {Error | null} */ error) => error ?? sayLast());
    };
    const begin = () => {
      if (begun || isOver()) return;
      begun = true;
      session.removeListener('stream', begin);
      if (!isBare(session)) {
        // Requests of a client that sends several at a time may have come together: they are to be answered as well.
        if (seamHttp.openStreams(session) > 1) setImmediate(sayLast);
        else sayLast();
      } else if (session.pendingSettingsAck) {
        // Ours have to be the first frame there is.
        session.ping((/** @type {Error | null} */ error) => error ?? notice());
      } else {
        notice();
      }
    };

    const timers = [
      setTimeout(begin, grace / 2),
      setTimeout(() => {
        sayLast();
        session.close();
      }, grace),
    ];
    session.once('close', () => {
      for (const timer of [...timers, retry]) clearTimeout(timer);
    });
    if (seamHttp.openStreams(session) > 0) begin();
    else session.prependListener('stream', begin);
  };

  /** @param {any} session */
  function writeNotice(session) {
    const handle = session.socket._handle;
    // What libuv still has to write may end in the middle of a frame.
    return handle.writeQueueSize === 0 && link.writeThrough(handle.fd, NOTICE);
  }
};

/**
 * Whether the session's frames are what is on the wire.
 *
 * @param {any} session
 */
function isBare(session) {
  const handle = session.socket?._handle;
  return !session.encrypted && handle?.fd >= 0 && typeof handle.writeQueueSize === 'number';
}
