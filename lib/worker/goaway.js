'use strict';

const { Buffer, Reflect, clearTimeout, setImmediate, setTimeout } = require('../globals');
const { defineHidden } = require('../define');
const seamHttp = require('../seam/http');

/** Codes of HTTP/2. */
const NO_ERROR = 0;
const REFUSED_STREAM = 7;

/** How long, in ms, to wait before a failed write is retried. */
const RETRY = 5;

/**
 * GOAWAY with the highest possible last stream, which a server sends first according to RFC 9113 (6.8): it
 * tells the client to open no more streams, and refuses none that is on its way.
 */
const NOTICE = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

/**
 * Tells the clients of HTTP/2 sessions that their next requests belong elsewhere.
 *
 * Node can send a GOAWAY with any last stream, but nghttp2 treats each one as final and silently drops
 * streams that the client opens afterwards. So the notice is written directly to the socket where possible:
 * on a connection without TLS, between two frames. A PING follows; when it is answered, everything that the
 * client had sent before it read the notice has arrived, and the final GOAWAY is sent. With TLS there is only
 * the final one.
 *
 * Either is sent while the client waits for an answer, if it sends a request in time, so the client knows
 * before its next request. A client that sends a request at the moment when a GOAWAY arrives may have to fail
 * it, whatever last stream it names.
 *
 * @param {import('../../binding').WorkerLink} link
 */
module.exports = function createGoaway(link) {
  /**
   * @param {any} session
   * @param {number} grace in ms; after that only the open streams are finished
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
      const last = session.state.lastProcStreamID;
      session.goaway(NO_ERROR, last);
      refuseAfter(session, last);
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
        // Several requests may have arrived together. The others of the batch must be received first, to be
        // answered as well.
        if (seamHttp.openStreams(session) > 1) setImmediate(sayLast);
        else sayLast();
      } else if (session.pendingSettingsAck) {
        // Our SETTINGS must be the first frame.
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
    // A pending write of libuv may end in the middle of a frame.
    return handle.writeQueueSize === 0 && link.writeThrough(handle.fd, NOTICE);
  }
};

/**
 * Refuses the streams that a final GOAWAY does not name. nghttp2 takes them until the GOAWAY is written, which
 * is only after it has read what has come with the last stream. The client will ask them elsewhere, so the
 * application must not see them.
 *
 * @param {any} session
 * @param {number} last the last stream that the GOAWAY names
 */
function refuseAfter(session, last) {
  const { emit } = session;
  /** @this {any} @param {string} event @param {any} stream */
  function emitNamed(event, stream) {
    if (event !== 'stream' || stream.id <= last) return Reflect.apply(emit, this, arguments);
    // Node reports the refusal as an error of the stream, and nobody else listens.
    stream.on('error', () => {});
    stream.close(REFUSED_STREAM);
    return true;
  }
  defineHidden(session, 'emit', { value: emitNamed });
}

/**
 * Whether the session's frames go to the wire unencrypted.
 *
 * @param {any} session
 */
function isBare(session) {
  const handle = session.socket?._handle;
  return !session.encrypted && handle?.fd >= 0 && typeof handle.writeQueueSize === 'number';
}
