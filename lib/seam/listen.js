'use strict';

// Detects servers and sockets for which net and dgram do not call the cluster: those bound with `exclusive`
// or `reusePort`, and those given a handle or a descriptor. Node emits no event for any of them. `_listen2` is the
// only function through which every net.Server begins to listen. Tested with every version that
// docs/compatibility.md names.

const { Object, Reflect } = require('../globals');
const dgram = require('node:dgram');
const net = require('node:net');

/**
 * Calls back for each net.Server, and each dgram.Socket that is bound exclusively to a port, once it listens.
 *
 * A dgram.Socket that only sends is bound by Node to a port that the kernel chooses: it is not a server.
 *
 * @param {(owner: any, kind: 'tcp' | 'pipe' | 'udp') => void} onListening
 */
function watchListening(onListening) {
  const servers = /** @type {any} */ (net.Server.prototype);
  const { _listen2: listen } = servers;
  servers._listen2 = function (/** @type {any[]} */ ...args) {
    const result = Reflect.apply(listen, this, args);
    // Without a handle, listening has failed.
    if (this._handle) onListening(this, kindOf(this._handle));
    return result;
  };

  const sockets = /** @type {any} */ (dgram.Socket.prototype);
  const { bind } = sockets;
  sockets.bind = function (/** @type {any[]} */ ...args) {
    const [options] = args;
    const isServer =
      typeof options === 'object' &&
      options !== null &&
      ((options.exclusive && options.port > 0) || options.reusePort || options.fd >= 0);
    const result = Reflect.apply(bind, this, args);
    if (isServer) this.once('listening', () => onListening(this, 'udp'));
    return result;
  };
  Object.defineProperty(sockets.bind, 'name', { value: bind.name });
  Object.defineProperty(sockets.bind, 'length', { value: bind.length });
}

/** @param {any} handle of a server */
function kindOf(handle) {
  return handle.constructor.name === 'Pipe' ? 'pipe' : 'tcp';
}

/**
 * The handle of an open server or socket; null once it is closed, even while its connections are still open.
 *
 * @param {any} owner a net.Server or dgram.Socket
 */
function handleOf(owner) {
  if (!(owner instanceof dgram.Socket)) return owner._handle ?? null;
  const symbol = Object.getOwnPropertySymbols(owner).find(
    ({ description }) => description === 'state symbol',
  );
  return symbol === undefined ? null : (/** @type {any} */ (owner)[symbol].handle ?? null);
}

module.exports = { watchListening, handleOf };
