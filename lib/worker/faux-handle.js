'use strict';

const { Object, clearInterval, nextTick, setInterval } = require('../globals');

/** The longest delay of a timer, in ms. The interval fires every 25 days and does nothing. */
const FOR_EVER = 2 ** 31 - 1;

/**
 * The handle of a net.Server whose real listening socket belongs to the primary. A plain object, like the
 * built-in's: `close`, `listen`, `ref`, `unref` and, for TCP, `getsockname`; net itself adds `onconnection`.
 *
 * @param {{ address: string, family: string, port: number } | null} sockname
 * @param {() => void} onClose
 */
module.exports = function createFauxHandle(sockname, onClose) {
  let open = true;
  /** @type {NodeJS.Timeout | null} keeps the event loop alive, as a listening socket would */
  let alive = null;

  const handle = {
    /**
     * Takes effect at once, as net expects.
     *
     * @param {() => void} [callback]
     */
    close(callback) {
      if (!open) return;
      open = false;
      handle.unref();
      onClose();
      if (typeof callback === 'function') nextTick(callback);
    },
    // The primary's socket already listens, with the backlog of the first worker.
    listen: () => 0,
    ref() {
      if (open) alive ??= setInterval(() => {}, FOR_EVER);
    },
    unref() {
      if (alive !== null) clearInterval(alive);
      alive = null;
    },
  };
  handle.ref();
  if (sockname === null) return handle;
  return Object.assign(handle, {
    /** @param {object} out */
    getsockname(out) {
      if (open) Object.assign(out, sockname);
      return 0;
    },
  });
};
