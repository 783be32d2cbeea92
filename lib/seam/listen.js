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
    const isServer = isBoundHere(this, args[0]);
    const result = Reflect.apply(bind, this, args);
    if (!isServer) return result;
    // With a handle or a descriptor, it has already emitted 'listening'.
    if (stateOf(this)?.receiving) onListening(this, 'udp');
    else this.once('listening', () => onListening(this, 'udp'));
    return result;
  };
  Object.defineProperty(sockets.bind, 'name', { value: bind.name });
  Object.defineProperty(sockets.bind, 'length', { value: bind.length });
}

/**
 * Whether bind() makes a socket a server that the cluster may not know of.
 *
 * @param {any} socket
 * @param {any} options the first argument of bind()
 */
function isBoundHere(socket, options) {
  const { exclusive, port, fd, recvStart } = options ?? {};
  if (fd >= 0 || recvStart !== undefined) return true;
  // send() and connect() bind to the port 0, exclusively.
  return exclusive ? port > 0 : !!stateOf(socket)?.reusePort;
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
  return stateOf(owner)?.handle ?? null;
}

/**
 * Whether the built-in cluster has given a handle to its server or socket: it replaces the function that closes it.
 *
 * @param {any} handle
 */
function isOfBuiltin(handle) {
  return Object.hasOwn(handle, 'close');
}

/**
 * @param {any} socket a dgram.Socket
 * @returns {{ handle: any, receiving: boolean, reusePort?: boolean } | undefined}
 */
function stateOf(socket) {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  return symbol === undefined ? undefined : socket[symbol];
}

module.exports = { watchListening, handleOf, isOfBuiltin };
