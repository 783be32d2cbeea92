'use strict';

// Which UDP sockets of a worker are servers that the cluster does not know of.

const assert = require('node:assert');
const dgram = require('node:dgram');
const { once } = require('node:events');
const { test } = require('node:test');
const { watchListening } = require('../../lib/seam/listen.js');
const { isBuiltin } = require('../../testing/subject.js');
const { freePorts } = require('../../testing/ports.js');

const [major, minor] = process.versions.node.split('.').map(Number);
const hasReusePort = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);

/** @type {Set<any>} */
const watched = new Set();
if (!isBuiltin) watchListening((owner, kind) => kind === 'udp' && watched.add(owner));

/** @param {any} socket */
function handleOf(socket) {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  return socket[/** @type {symbol} */ (symbol)].handle;
}

const reusePort = true;
const exclusive = true;

/** @type {{ name: string, options?: any, bind: (socket: any, port: number, other: any) => void, isServer: boolean }[]} */
const CASES = [
  { name: 'exclusively', bind: (socket, port) => socket.bind({ port, exclusive }), isServer: true },
  { name: 'exclusively, to no port', bind: (socket) => socket.bind({ port: 0, exclusive }), isServer: false },
  { name: 'with a handle', bind: (socket, _, other) => socket.bind(handleOf(other)), isServer: true },
  { name: 'as usual', bind: (socket, port) => socket.bind(port), isServer: false },
  { name: 'as usual, to any port', bind: (socket) => socket.bind(), isServer: false },
  { name: 'by sending', bind: (socket) => socket.send('hello', 9, '127.0.0.1'), isServer: false },
  { name: 'reusePort', options: { reusePort }, bind: (socket, port) => socket.bind(port), isServer: true },
  { name: 'reusePort, to any port', options: { reusePort }, bind: (socket) => socket.bind(), isServer: true },
  {
    name: 'reusePort, by sending',
    options: { reusePort },
    bind: (socket) => socket.send('hello', 9, '127.0.0.1'),
    isServer: false,
  },
];

for (const { name, options, bind, isServer } of CASES) {
  const skip =
    (isBuiltin && 'the built-in has no supervision') || (options && !hasReusePort && 'no reusePort');
  test(`bound ${name}: ${isServer ? 'a server' : 'none'}`, { skip }, async () => {
    const [port] = await freePorts(1);
    const other = dgram.createSocket('udp4').bind({ port: 0, address: '127.0.0.1' });
    await once(other, 'listening');
    const socket = dgram.createSocket({ type: 'udp4', ...options });
    const listens = once(socket, 'listening');
    bind(socket, port, other);
    await listens;
    assert.strictEqual(watched.has(socket), isServer);
    socket.close();
    other.close();
  });
}
