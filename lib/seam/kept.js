'use strict';

const { Buffer, Map, Reflect, Set, String, Symbol, setTimeout } = require('../globals');

// What rcluster knows of the insides of http's connections that move from one worker to another: which of them have
// nothing about them that the next worker would not find again, and how http goes on with one in the middle of its life.
// Everything here was tried on every version that docs/compatibility.md names.

/** the number of the listener, on the handle of a connection that http has read from its first byte on */
const plain = Symbol('rcluster.plain');

/** on the handle of a connection on which another worker has answered requests */
const served = Symbol('rcluster.served');

/** What Node itself puts on the socket of a connection some time after it was opened. */
const LATER = new Set([
  '_httpMessage',
  '_peername',
  '_sockname',
  'timeout',
  '_pendingData',
  '_pendingEncoding',
  // What options of the socket are set to: these stay with it. They are symbols.
  'kSetNoDelay',
  'kSetKeepAlive',
  'kSetKeepAliveInitialDelay',
  'kSetKeepAliveInterval',
  'kSetKeepAliveCount',
  'kSetTOS',
]);

/** A request that is complete when it has been read. */
const REQUEST = Buffer.from('GET / HTTP/1.1\r\n\r\n');

/**
 * What a socket looks like when its connection has just been opened.
 *
 * @typedef {object} Looks
 * @property {Set<string | symbol>} keys its own properties
 * @property {Map<string | symbol, number>} listeners how many there are, by event
 */

/**
 * @param {any} socket
 * @returns {Looks}
 */
function looksOf(socket) {
  const listeners = new Map(
    socket.eventNames().map((/** @type {string | symbol} */ name) => [name, socket.listenerCount(name)]),
  );
  return { keys: new Set(Reflect.ownKeys(socket)), listeners };
}

/**
 * Marks a connection that http reads itself, if it does. To be called when `'connection'` has just been emitted: whoever
 * wants to read before http does (a PROXY header, say) has kept it from http until now.
 *
 * @param {any} socket
 * @param {any} handle
 * @param {number} listener
 * @returns {boolean} whether it does
 */
function markPlain(socket, handle, listener) {
  if (!isReadByHttp(socket)) return false;
  handle[plain] = listener;
  return true;
}

/**
 * Whether http's parser takes what comes directly from the handle, and nobody else has ever asked to be told of it.
 *
 * @param {any} socket
 */
function isReadByHttp(socket) {
  const { parser } = socket;
  return parser?.socket === socket && parser._consumed === true && socket._handle?._consumed === true;
}

/**
 * Whether another worker can go on with a connection as if it had been there from the beginning. Nobody but http has
 * read from it, it came directly from this listener, and the app has put nothing on its socket since it was opened: no
 * property and no listener, as those do who remember something about a connection (whom it has authenticated, say). What
 * the app does at `'connection'` it does again in the next worker.
 *
 * @param {any} socket
 * @param {number} listener
 * @param {Looks | undefined} looks of a socket of that server when it was opened
 */
function isMovable(socket, listener, looks) {
  if (looks === undefined || socket._handle?.[plain] !== listener || !isReadByHttp(socket)) return false;
  const isKnown = (/** @type {string | symbol} */ key) =>
    looks.keys.has(key) || LATER.has(typeof key === 'symbol' ? String(key.description) : key);
  return (
    Reflect.ownKeys(socket).every(isKnown) &&
    socket
      .eventNames()
      .every(
        (/** @type {string | symbol} */ name) =>
          socket.listenerCount(name) <= (looks.listeners.get(name) ?? 0),
      )
  );
}

/**
 * Whether a request has been answered on a connection, here or before.
 *
 * @param {any} socket
 */
function isServed(socket) {
  return socket.bytesRead > 0 || socket._handle?.[served] === true;
}

/**
 * Has http go on with a connection on which another worker has answered requests: it is idle now, as after an answer,
 * and not one whose first request is overdue.
 *
 * @param {any} socket that http has just taken over
 * @param {any} handle
 * @param {() => boolean} isQuiet whether nothing has come that is still to be read
 */
function resume(socket, handle, isQuiet) {
  handle[served] = true;
  finishRequest(socket.parser);
  const { keepAliveTimeout = 0, keepAliveTimeoutBuffer = 0 } = socket.server ?? {};
  if (!(keepAliveTimeout > 0)) return;
  // http sets this time when it has sent an answer, and ends it when something comes. Its own note of that is out of reach.
  const timer = setTimeout(() => {
    if (!socket.destroyed && socket.bytesRead === 0 && isQuiet()) socket.emit('timeout');
  }, keepAliveTimeout + keepAliveTimeoutBuffer);
  timer.unref();
}

/**
 * Makes a parser one that has read a request to its end. Only so does http count its connection among the idle ones.
 *
 * @param {any} parser
 */
function finishRequest(parser) {
  const { kOnMessageBegin, kOnHeaders, kOnHeadersComplete, kOnMessageComplete } = parser.constructor;
  const names = [kOnMessageBegin, kOnHeaders, kOnHeadersComplete, kOnMessageComplete];
  const functions = names.map((name) => parser[name]);
  for (const name of names) parser[name] = undefined;
  try {
    parser.execute(REQUEST);
  } finally {
    names.forEach((name, index) => {
      parser[name] = functions[index];
    });
  }
}

/**
 * The head of a request as it was on the wire, a character for each byte.
 *
 * @param {any} request an http.IncomingMessage
 */
function headOf(request) {
  const { method, rawHeaders } = request;
  // Frameworks that take a part of the URL away for some of the app keep the whole of it here.
  const url = typeof request.originalUrl === 'string' ? request.originalUrl : request.url;
  const headers = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    headers.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`);
  }
  return `${method} ${url} HTTP/1.1\r\n${headers.join('')}\r\n`;
}

module.exports = { looksOf, markPlain, isMovable, isServed, resume, headOf };
