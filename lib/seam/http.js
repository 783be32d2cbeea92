'use strict';

// What rcluster knows about the internals of http and http2: the connections of a server and the state of
// each. Tested with every version that docs/compatibility.md names.

const { Array, Boolean, Object, Reflect, Set, String, WeakMap } = require('../globals');
const { closeNet, isHttp1, isHttp2 } = require('./servers');

/**
 * Closes a server without closing its idle connections, as http's own close() does since Node 19.
 *
 * @param {any} server an http, https or http2 server
 * @param {() => void} done called once all its connections have ended
 */
function closeServer(server, done) {
  Reflect.apply(closeNet, server, [done]);
}

/**
 * Replaces how a server closes its idle connections while `act` runs.
 *
 * @param {any} server
 * @param {(server: any) => void} closeIdle
 * @param {() => void} act called with the replacement in place
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
 * Tracks the sessions of an http2 server, because http2 itself has no list.
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
 * The number of requests of an HTTP/2 session that are not fully answered.
 *
 * @param {any} session
 * @returns {number}
 */
function openStreams(session) {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'state');
  return symbol === undefined ? 0 : (session[symbol].streams?.size ?? 0);
}

/**
 * An HTTP/1 connection and its state.
 *
 * @typedef {object} Connection
 * @property {any} socket
 * @property {any} response the answer that is pending or being sent; null if there is none
 * @property {boolean} idle whether no byte of a request has arrived since the last answer was sent
 */

/**
 * The HTTP/1 connections of a server, without upgraded ones.
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
      // Until its first byte, Node counts a connection as busy, to detect an overdue request.
      const idle = response === null && (quiet.has(parser) || socket.bytesRead === 0);
      return { socket, response, idle: idle && socket.writableLength === 0 };
    })
    .filter(Boolean);
}

/** Node publishes each request whose head it has read on this channel, with its response. */
const REQUEST_START = 'http.server.request.start';

/**
 * A listener for that channel.
 *
 * @param {unknown} message
 */
function closeOnRequest(message) {
  closeAfter(/** @type {{ response: any }} */ (message).response);
}

/** @type {WeakMap<object, any>} by socket: the answer after which it is to be closed */
const closing = new WeakMap();

/**
 * Makes an answer say `Connection: close`, and closes its connection afterwards. Has no effect once its
 * headers are sent, nor if the client has pipelined another request, which the application has seen by now:
 * then the last answer is the one that closes.
 *
 * @param {any} response an http.ServerResponse
 */
function closeAfter(response) {
  if (response.headersSent || isFollowed(response)) return;
  const { socket } = response.req;
  // A request that was destroyed has none any more.
  if (socket) {
    const previous = closing.get(socket);
    if (previous === response) return;
    if (previous !== undefined && !previous.headersSent) previous.shouldKeepAlive = true;
    closing.set(socket, response);
  }
  // The client has asked for it itself.
  if (!response.shouldKeepAlive) return;
  response.shouldKeepAlive = false;
  // A `Connection` header set by the app, as a proxy does that passes headers on, would override that.
  const { writeHead } = response;
  response.writeHead = function (/** @type {any[]} */ ...args) {
    response.writeHead = writeHead;
    if (response.shouldKeepAlive) return Reflect.apply(writeHead, response, args);
    if (response.hasHeader('connection')) response.setHeader('Connection', 'close');
    return Reflect.apply(writeHead, response, args.map(withoutKeepAlive));
  };
}

/**
 * Whether another request has arrived on the connection of an answer, behind the one that it answers.
 *
 * @param {any} response
 */
function isFollowed({ req }) {
  const newest = newestOn(req.socket);
  return newest !== null && newest !== req;
}

/**
 * The request that has arrived last on a connection.
 *
 * @param {any} socket
 */
function newestOn(socket) {
  return socket?.parser?.incoming ?? null;
}

/**
 * @param {any} argument an argument of writeHead(): headers as an object, as a list of names and values, or something else
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
 * The descriptor of a socket, with or without TLS; -1 if it is closed.
 *
 * @param {any} socket
 * @returns {number}
 */
function descriptorOf(socket) {
  return socket._handle?.fd ?? -1;
}

/**
 * Whether no byte has arrived on a connection that Node has not read.
 *
 * @param {any} socket
 * @param {import('../../binding').WorkerLink} link
 */
function nothingWaits(socket, link) {
  const fd = descriptorOf(socket);
  return fd < 0 || link.unread(fd) === 0;
}

module.exports = {
  REQUEST_START,
  isHttp1,
  isHttp2,
  closeServer,
  withIdleConnections,
  trackSessions,
  sessionsOf,
  openStreams,
  connectionsOf,
  closeAfter,
  closeOnRequest,
  newestOn,
  descriptorOf,
  nothingWaits,
};
