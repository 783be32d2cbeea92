'use strict';

// What keeps the event loop of this process: which of it is work that will end by itself, and which only waits.

const { Object, WeakMap, monotonic, process } = require('../globals');
const net = require('node:net');

/**
 * How long, in ms, a connection of which we know nothing counts as waiting for an answer to what was written last.
 */
const ANSWER = 1000;

/**
 * Tells whether work is in progress: a request to the system (a file, a name, a connect, a write), or an outgoing
 * connection on which an answer is due. Timers, idle connections, listening sockets, child processes and worker threads
 * are none.
 */
class Work {
  /** @type {WeakMap<object, { read: number, written: number, asked: number }>} what was seen of connections */
  #seen = new WeakMap();

  /** To be asked regularly: what goes on on a connection is seen from one time to the next. */
  isInProgress() {
    const inner = /** @type {any} */ (process);
    // Each is looked at, whatever the others say.
    const waiting = inner._getActiveHandles().filter((/** @type {any} */ handle) => this.#isDue(handle));
    return inner._getActiveRequests().length > 0 || waiting.length > 0;
  }

  /** @param {any} handle */
  #isDue(handle) {
    // What is written to stdout is not answered.
    if (!(handle instanceof net.Socket) || [0, 1, 2].includes(/** @type {any} */ (handle).fd)) return false;
    const socket = /** @type {any} */ (handle);
    const { bytesRead: read, bytesWritten: written } = socket;
    const before = this.#seen.get(socket) ?? { read, written, asked: -Infinity };
    const moved = read !== before.read || written !== before.written;
    let { asked } = before;
    if (written !== before.written) asked = monotonic();
    if (read !== before.read) asked = -Infinity;
    this.#seen.set(socket, { read, written, asked });
    // http, whose idle connections do not keep the event loop. A stream that never ends, of events say, rests at times.
    if (socket._httpMessage) return !socket._httpMessage.res || moved;
    if (isOfFetch(socket)) return true;
    return monotonic() - asked < ANSWER;
  }
}

/**
 * Whether a connection belongs to fetch(), whose idle connections do not keep the event loop either.
 *
 * @param {any} socket
 */
function isOfFetch(socket) {
  return Object.getOwnPropertySymbols(socket).some(
    (symbol) => symbol.description === 'parser' && socket[symbol],
  );
}

/**
 * What keeps the event loop, by kind, and how many there are of each.
 *
 * @returns {Record<string, number>}
 */
function activeResources() {
  /** @type {Record<string, number>} */
  const counts = {};
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

module.exports = { Work, activeResources };
