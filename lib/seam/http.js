'use strict';

// What rcluster knows of the insides of http and http2: which connections a server has, and what is going on on each.
// Everything here was tried on every version that docs/compatibility.md names.

const { Array, Boolean, Object, Reflect, Set, String, WeakMap } = require('../globals');
const { close: closeNet } = require('node:net').Server.prototype;

/** The classes of http2, which does not export them. They cannot be extended by an application either. */
const HTTP2 = ['Http2Server', 'Http2SecureServer'];

/**
 * Known by what only they have: asking for their classes would load `https` and all of `tls` into each worker, which
 * takes longer than the rest of this package.
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
 * Closes a server without closing the connections that are idle, as http's own close() does since Node 19.
 *
 * @param {any} server an http, https or http2 server
 * @param {() => void} done called once all its connections have ended
 */
function closeServer(server, done) {
  Reflect.apply(closeNet, server, [done]);
}

/**
 * Has something else done wherever a server closes those of its connections that are idle.
 *
 * @param {any} server
 * @param {(server: any) => void} closeIdle
 * @param {() => void} act during which that holds
 */
function withIdleConnections(server, closeIdle, act) {
  const own = Object.getOwnPropertyDescriptor(server, 'closeIdleConnections');
  const value = () => closeIdle(server);
  Object.defineProperty(server, 'closeIdleConnections', { value, configurable: true, writable: true });
  try {
    act();
  } finally {
    if (own) Object.defineProperty(server, 'closeIdleConnections', own);
    else delete server.closeIdleConnections;
  }
}

/** @type {WeakMap<object, Set<any>>} the open sessions of http2 servers */
const sessions = new WeakMap();

/**
 * Keeps the sessions of an http2 server, of which http2 itself has no list.
 *
 * @param {any} server a server of any kind that begins to listen
 * @param {(session: any) => void} onSession
 */
function trackSessions(server, onSession) {
  if (!isHttp2(server) || sessions.has(server)) return;
  const open = new Set();
  sessions.set(server, open);
  server.on('session', (/** @type {any} */ session) => {
    open.add(session);
    session.once('close', () => open.delete(session));
    onSession(session);
  });
}

/**
 * @param {any} server
 * @returns {Set<any>}
 */
function sessionsOf(server) {
  return sessions.get(server) ?? new Set();
}

/**
 * How many requests of an HTTP/2 session are not answered in full.
 *
 * @param {any} session
 * @returns {number}
 */
function openStreams(session) {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'state');
  return symbol === undefined ? 0 : (session[symbol].streams?.size ?? 0);
}

/**
 * A connection that speaks HTTP/1, and what is going on on it.
 *
 * @typedef {object} Connection
 * @property {any} socket
 * @property {any} response the answer that is due or on its way; null if there is none
 * @property {boolean} idle whether nothing of a request has come since the last answer was sent
 */

/**
 * The HTTP/1 connections of a server. Those that were upgraded are no longer among them.
 *
 * @param {any} server
 * @returns {Connection[]}
 */
function connectionsOf(server) {
  const symbol = Object.getOwnPropertySymbols(server).find(
    ({ description }) => description === 'http.server.connections',
  );
  // A server that has never listened has no list.
  const list = symbol && server[symbol];
  if (!list) return [];
  const quiet = new Set(list.idle());
  return list
    .all()
    .map((/** @type {any} */ parser) => {
      const { socket } = parser;
      if (!socket || socket.destroyed) return null;
      const response = socket._httpMessage ?? null;
      // Until its first byte a connection counts as busy with Node, which waits for a request that is overdue.
      const idle = response === null && (quiet.has(parser) || socket.bytesRead === 0);
      return { socket, response, idle: idle && socket.writableLength === 0 };
    })
    .filter(Boolean);
}

/**
 * Sees to it that an answer says `Connection: close`, and that its connection is closed after it. Of no effect once
 * its headers are sent.
 *
 * @param {any} response an http.ServerResponse
 */
function closeAfter(response) {
  if (response.headersSent || !response.shouldKeepAlive) return;
  response.shouldKeepAlive = false;
  // Who gives a header of their own, as proxies do that pass on what they got, would overrule that.
  const { writeHead } = response;
  response.writeHead = function (/** @type {any[]} */ ...args) {
    response.writeHead = writeHead;
    if (response.hasHeader('connection')) response.setHeader('Connection', 'close');
    return Reflect.apply(writeHead, response, args.map(withoutKeepAlive));
  };
}

/**
 * @param {any} argument one of writeHead(): headers as an object, as a list of names and values, or something else
 */
function withoutKeepAlive(argument) {
  if (typeof argument !== 'object' || argument === null) return argument;
  if (Array.isArray(argument)) {
    if (Array.isArray(argument[0])) {
      return argument.map(([name, value]) => [name, isConnection(name) ? 'close' : value]);
    }
    return argument.map((value, i) => (i % 2 === 1 && isConnection(argument[i - 1]) ? 'close' : value));
  }
  const entries = Object.entries(argument);
  return Object.fromEntries(entries.map(([name, value]) => [name, isConnection(name) ? 'close' : value]));
}

/** @param {unknown} name */
function isConnection(name) {
  return String(name).toLowerCase() === 'connection';
}

/**
 * The number of the descriptor under a socket, with TLS or without; -1 if it is closed.
 *
 * @param {any} socket
 * @returns {number}
 */
function descriptorOf(socket) {
  return socket._handle?.fd ?? -1;
}

module.exports = {
  isHttp1,
  isHttp2,
  closeServer,
  withIdleConnections,
  trackSessions,
  sessionsOf,
  openStreams,
  connectionsOf,
  closeAfter,
  descriptorOf,
};
