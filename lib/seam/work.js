'use strict';

// Determines which of the resources that keep the event loop alive are work that ends by itself, and which
// only wait.

const { Object, WeakMap, monotonic, process } = require('../globals');
const net = require('node:net');

/**
 * How long, in ms, a connection of unknown protocol counts as waiting for an answer to what was written last.
 */
const ANSWER = 1000;

/**
 * Determines whether work is in progress: a request to the system (a file, a name, a connect, a write), or an
 * outgoing connection that waits for an answer. Timers, idle connections, listening sockets, child processes
 * and worker threads do not count.
 */
class Work {
  /** @type {WeakMap<object, { read: number, written: number, asked: number }>} the last observation of each connection */
  #seen = new WeakMap();

  /** Must be called regularly: activity on a connection is measured from one call to the next. */
  isInProgress() {
    const inner = /** @type {any} */ (process);
    // All are checked, not only until the first match, because each check records the state.
    const waiting = inner._getActiveHandles().filter((/** @type {any} */ handle) => this.#isDue(handle));
    return inner._getActiveRequests().length > 0 || waiting.length > 0;
  }

  /** @param {any} handle */
  #isDue(handle) {
    // Writes to stdout get no answer.
    if (!(handle instanceof net.Socket) || [0, 1, 2].includes(/** @type {any} */ (handle).fd)) return false;
    const socket = /** @type {any} */ (handle);
    const { bytesRead: read, bytesWritten: written } = socket;
    const before = this.#seen.get(socket) ?? { read, written, asked: -Infinity };
    const moved = read !== before.read || written !== before.written;
    let { asked } = before;
    if (written !== before.written) asked = monotonic();
    if (read !== before.read) asked = -Infinity;
    this.#seen.set(socket, { read, written, asked });
    // An http client: its idle connections do not keep the event loop alive. An endless stream, of events for
    // example, may pause.
    if (socket._httpMessage) return !socket._httpMessage.res || moved;
    if (isOfFetch(socket)) return true;
    return monotonic() - asked < ANSWER;
  }
}

/**
 * Whether a connection belongs to fetch(), whose idle connections do not keep the event loop alive either.
 *
 * @param {any} socket
 */
function isOfFetch(socket) {
  return Object.getOwnPropertySymbols(socket).some(
    (symbol) => symbol.description === 'parser' && socket[symbol],
  );
}

/** Node's names for resources, by the class of the handle. */
const RESOURCES = { Pipe: 'PipeWrap', TTY: 'TTYWrap', TCP: 'TCPSocketWrap' };

/**
 * The number of resources of each kind that keep the event loop alive. The channel to the primary, stdout and stderr do not,
 * although Node lists them.
 *
 * @returns {Record<string, number>}
 */
function activeResources() {
  /** @type {Record<string, number>} */
  const counts = { __proto__: /** @type {any} */ (null) };
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
  for (const kind of idleResources()) {
    if (counts[kind] > 1) counts[kind]--;
    else delete counts[kind];
  }
  return counts;
}

/**
 * The names of the resources of the channel, and of stdout and stderr if they have been used.
 * @returns {string[]}
 */
function idleResources() {
  const inner = /** @type {any} */ (process);
  return inner._getActiveHandles().flatMap((/** @type {any} */ owner) => {
    const isOutput = owner.fd === 1 || owner.fd === 2;
    // Only the channel's handle belongs to no stream. It is still there when the channel is closed.
    const handle = isOutput ? owner._handle : owner;
    const name = /** @type {keyof typeof RESOURCES} */ (handle?.constructor.name);
    return isOutput || name === 'Pipe' ? (RESOURCES[name] ?? []) : [];
  });
}

module.exports = { Work, activeResources };
