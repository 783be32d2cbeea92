'use strict';

const { Map, Reflect, Set, clearInterval, nextTick, setInterval } = require('../globals');
const seam = require('../seam/worker');

/** How often, in ms, a full server is checked for a raised `maxConnections`. */
const LOOK_AGAIN = 100;

/**
 * Decides whether a server has room for a connection (`maxConnections`). A server without room is
 * reported as full to the primary, which sends its connections elsewhere until it has room.
 *
 * @param {(listener: number) => void} room tells the primary that a server has room again
 * @param {(listener: number) => void} filled called when a server has become full
 */
module.exports = function createAdmission(room, filled) {
  /** @type {Map<number, { handle: any, timer: NodeJS.Timeout }>} listeners reported as full */
  const full = new Map();
  /** @type {Set<number>} listeners whose server was closed while it was reported as full */
  const owed = new Set();

  /**
   * A server begins to listen. If an earlier server of this listener was closed while reported as full, that
   * report is withdrawn.
   *
   * @param {number} listener
   */
  function open(listener) {
    if (owed.delete(listener)) room(listener);
  }

  /** @param {number} listener */
  function lookAgain(listener) {
    const entry = full.get(listener);
    if (entry === undefined || seam.isFull(seam.ownerOf(entry.handle))) return;
    clear(listener);
    room(listener);
  }

  /**
   * Returns whether there is room for a connection. If there is none, this is reported.
   *
   * @param {number} listener
   * @param {any} handle the server's handle
   */
  function admit(listener, handle) {
    if (!seam.isFull(seam.ownerOf(handle))) return true;
    if (!full.has(listener)) {
      // `watch` detects the end of a connection. The timer is for changes without an event: an application
      // that raises the limit.
      const timer = setInterval(lookAgain, LOOK_AGAIN, listener);
      timer.unref();
      full.set(listener, { handle, timer });
      filled(listener);
    }
    return false;
  }

  /**
   * Makes a limited server check for room again when a connection ends.
   *
   * @param {number} listener
   * @param {any} handle the server's handle
   * @param {any} connection the connection's handle, which is returned
   */
  function watch(listener, handle, connection) {
    if (seam.ownerOf(handle)?.maxConnections == null) return connection;
    const { close } = connection;
    connection.close = function (/** @type {any[]} */ ...args) {
      // net counts the connection down after it has closed the handle.
      if (full.has(listener)) nextTick(lookAgain, listener);
      return Reflect.apply(close, this, args);
    };
    return connection;
  }

  /** @param {number} listener */
  function clear(listener) {
    clearInterval(full.get(listener)?.timer);
    return full.delete(listener);
  }

  /**
   * The server is closed.
   *
   * @param {number} listener
   */
  function close(listener) {
    if (clear(listener)) owed.add(listener);
  }

  return { open, admit, watch, close };
};
