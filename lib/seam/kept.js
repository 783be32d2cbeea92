'use strict';

const { Buffer, Map, Reflect, Set, String, Symbol, setTimeout } = require('../globals');

// What rcluster knows about the internals of http's connections that move between workers: which of them have
// no state that the next worker would lack, and how http continues one in the middle of its life. Tested with
// every version that docs/compatibility.md names.

/** the number of the listener, on the handle of a connection that http has read from its first byte on */
const plain = Symbol('rcluster.plain');

/** on the handle of a connection on which another worker has answered requests */
const served = Symbol('rcluster.served');

/** The properties that Node itself adds to a socket some time after its connection was opened. */
const LATER = new Set([
  '_httpMessage',
  '_peername',
  '_sockname',
  'timeout',
  '_pendingData',
  '_pendingEncoding',
  // The values of socket options, which stay with the socket. These are symbols.
  'kSetNoDelay',
  'kSetKeepAlive',
  'kSetKeepAliveInitialDelay',
  'kSetKeepAliveInterval',
  'kSetKeepAliveCount',
  'kSetTOS',
]);

/** A complete request without a body. */
const REQUEST = Buffer.from('GET / HTTP/1.1\r\n\r\n');

/**
 * The properties and listeners of a socket whose connection has just been opened.
 *
 * @typedef {object} Looks
 * @property {Set<string | symbol>} keys its own properties
 * @property {Map<string | symbol, number>} listeners their number, by event
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
 * Marks a connection if http reads it itself. Must be called right after `'connection'` has been emitted:
 * code that reads before http does (a PROXY header, for example) has kept the socket from http until then.
 *
 * @param {any} socket
 * @param {any} handle
 * @param {number} listener
 * @returns {boolean} whether http reads it
 */
function markPlain(socket, handle, listener) {
  if (!isReadByHttp(socket)) return false;
  handle[plain] = listener;
  return true;
}

/**
 * Whether http's parser consumes data directly from the handle, and no other code has ever listened for data.
 *
 * @param {any} socket
 */
function isReadByHttp(socket) {
  const { parser } = socket;
  return parser?.socket === socket && parser._consumed === true && socket._handle?._consumed === true;
}

/**
 * Whether another worker can continue a connection as if it had had it from the beginning: only http has read
 * from it, it came directly from this listener, and the app has added no property or listener to its socket
 * since it was opened, as code does that remembers something about a connection (an authenticated user, for
 * example). What the app does on `'connection'` it does again in the next worker.
 *
 * @param {any} socket
 * @param {number} listener
 * @param {Looks | undefined} looks the state of a newly opened socket of that server
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
 * Makes http continue a connection on which another worker has answered requests: it is now idle, as after an
 * answer, and not waiting for an overdue first request.
 *
 * @param {any} socket the socket that http has just taken over
 * @param {any} handle
 * @param {() => boolean} isQuiet whether no unread data has arrived
 */
function resume(socket, handle, isQuiet) {
  handle[served] = true;
  finishRequest(socket.parser);
  const { keepAliveTimeout = 0, keepAliveTimeoutBuffer = 0 } = socket.server ?? {};
  if (!(keepAliveTimeout > 0)) return;
  // http starts this timeout after an answer, and ends it when data arrives. Its own flag for that is not
  // accessible.
  const timer = setTimeout(() => {
    if (!socket.destroyed && socket.bytesRead === 0 && isQuiet()) socket.emit('timeout');
  }, keepAliveTimeout + keepAliveTimeoutBuffer);
  timer.unref();
}

/**
 * Puts a parser into the state after a complete request. Only then does http count its connection as idle.
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
 * The head of a request as it was on the wire, one character for each byte.
 *
 * @param {any} request an http.IncomingMessage
 */
function headOf(request) {
  const { method, rawHeaders } = request;
  // Frameworks that strip a prefix from the URL for some routes keep the full URL here.
  const url = typeof request.originalUrl === 'string' ? request.originalUrl : request.url;
  const headers = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    headers.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`);
  }
  return `${method} ${url} HTTP/1.1\r\n${headers.join('')}\r\n`;
}

module.exports = { looksOf, markPlain, isMovable, isServed, resume, headOf };
