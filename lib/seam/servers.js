'use strict';

// Distinguishes the kinds of servers.

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

module.exports = { closeNet, isHttp1, isHttp2 };
