'use strict';

// Distinguishes the kinds of servers.

const { Object, nextTick } = require('../globals');
const { defineHidden } = require('../define');
const { close: closeNet } = require('node:net').Server.prototype;

/** The classes of http2, which does not export them, so applications cannot extend them. */
const HTTP2 = ['Http2Server', 'Http2SecureServer'];

/**
 * Recognized by a method that only these servers have: comparing classes would load `https` and all of `tls`
 * into each worker, which takes longer than the rest of this package.
 *
 * @param {any} server
 */
function isHttp1(server) {
  return typeof server?.closeIdleConnections === 'function' && !isHttp2(server);
}

/** @param {any} server */
function isHttp2(server) {
  return HTTP2.includes(server?.constructor?.name);
}

/**
 * Lets the application close a server, or a socket for datagrams, that has been closed for it, without an error: to the
 * application, its own call closes the server.
 *
 * @param {any} server
 * @param {boolean} [isClosed] whether its connections have ended as well
 */
function allowClose(server, isClosed = false) {
  // The application may have replaced it.
  if (Object.hasOwn(server, 'close')) return;
  if (!isClosed) server.once('close', () => (isClosed = true));
  defineHidden(server, 'close', {
    /** @param {unknown} [done] */
    value(done) {
      if (typeof done !== 'function') return server;
      if (isClosed) nextTick(done);
      else server.once('close', () => done());
      return server;
    },
  });
}

module.exports = { allowClose, closeNet, isHttp1, isHttp2 };
