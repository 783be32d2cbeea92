'use strict';

const { Buffer, Reflect, clearTimeout, process, setImmediate, setTimeout } = require('../globals');
const { defineHidden } = require('../define');
const seamHttp = require('../seam/http');

/** Codes of HTTP/2. */
const NO_ERROR = 0;
const REFUSED_STREAM = 7;

/** How long, in ms, to wait before a failed write is retried. */
const RETRY = 5;

/**
 * GOAWAY with the highest possible last stream, which a server sends first according to RFC 9113 (6.8): it
 * tells the client to open no more streams, and does not refuse streams in transit.
 */
const NOTICE = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);

/**
 * Asks the clients of HTTP/2 sessions to send their next requests on other connections.
 *
 * Node can send a GOAWAY with any last stream, but nghttp2 treats each one as final and silently drops
 * streams that the client opens afterwards. So the notice is written directly to the socket where possible:
 * on a connection without TLS, between two frames. A PING follows; when it is answered, everything that the
 * client had sent before it read the notice has arrived, and the final GOAWAY is sent. With TLS there is only
 * the final one, which names all requests that have arrived together.
 *
 * Either GOAWAY is sent while the client waits for an answer, if the client sends a request in time, so the
 * client knows before its next request. A client that sends a request at the moment when a GOAWAY arrives may
 * have to treat the request as failed, whichever last stream the GOAWAY names.
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
    /** The last stream that the final GOAWAY names. */
    let last = Infinity;
    /** Streams that the application sees once the GOAWAY has been created; null if it sees them at once. @type {any[][] | null} */
    let held = null;
    /** @type {NodeJS.Timeout | undefined} */
    let retry;

    const isOver = () => final || session.closed || session.destroyed;
    const sayLast = () => {
      if (!isOver()) {
        final = true;
        last = session.state.lastProcStreamID;
        session.goaway(NO_ERROR, last);
      }
      release();
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
    const begin = (/** @type {boolean} */ several) => {
      if (begun || isOver()) return;
      begun = true;
      if (!isBare(session)) {
        if (!several) return sayLast();
        // The other streams must be received first, so that the GOAWAY covers them too, and no answer may precede it.
        held = [];
        setImmediate(sayLast);
      } else if (session.pendingSettingsAck) {
        // Our SETTINGS must be the first frame.
        session.ping((/** @type {Error | null} */ error) => error ?? notice());
      } else {
        notice();
      }
    };

    const { emit } = session;
    const release = () => {
      const streams = held ?? [];
      held = null;
      // Each in a tick of its own, as Node does: an exception of one must not prevent the others.
      for (const args of streams) process.nextTick(emitHeld, args);
    };
    const emitHeld = (/** @type {any[]} */ args) => {
      if (!args[1].destroyed) Reflect.apply(emit, session, args);
    };
    /** @param {any[]} args the name of the event, and its arguments */
    function emitStreams(...args) {
      const [event, stream] = args;
      if (event !== 'stream') return Reflect.apply(emit, session, args);
      if (stream.id > last) return refuse(stream);
      begin(true);
      if (held === null) return Reflect.apply(emit, session, args);
      held.push(args);
      return true;
    }
    defineHidden(session, 'emit', { value: emitStreams });

    const timers = [
      setTimeout(begin, grace / 2, false),
      setTimeout(() => {
        sayLast();
        session.close();
      }, grace),
    ];
    session.once('close', () => {
      for (const timer of [...timers, retry]) clearTimeout(timer);
    });
    const open = seamHttp.openStreams(session);
    if (open > 0) begin(open > 1);
  };

  /** @param {any} session */
  function writeNotice(session) {
    const handle = session.socket._handle;
    // A pending write of libuv may end in the middle of a frame.
    return handle.writeQueueSize === 0 && link.writeThrough(handle.fd, NOTICE);
  }
};

/**
 * Refuses a stream that the final GOAWAY does not name. nghttp2 takes such streams until the GOAWAY is written.
 * The client will send the request on another connection, so the application must not see them.
 *
 * @param {any} stream
 */
function refuse(stream) {
  // Node reports the refusal as an error of the stream, which would be uncaught.
  stream.on('error', () => {});
  stream.close(REFUSED_STREAM);
  return true;
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
