'use strict';

const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');

/** The lowest port that is tried. */
const LOWEST = 10_000;
const HIGHEST = 65_535;

/**
 * The ports that the kernel assigns to whoever asks for any port, and to each client that connects.
 * @returns {[first: number, last: number]}
 */
function assignedByKernel() {
  const text = fs.readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
  const [first, last] = text.trim().split(/\s+/).map(Number);
  return [first, last];
}

/**
 * A server that listens on a random port of the loopback address.
 * @returns {Promise<net.Server>}
 */
async function listenAnywhere() {
  const [first, last] = assignedByKernel();
  const below = Math.max(0, first - LOWEST);
  const others = below + Math.max(0, HIGHEST - last);
  for (;;) {
    const at = Math.floor(Math.random() * others);
    const port = others === 0 ? 0 : at < below ? LOWEST + at : last + 1 + at - below;
    const server = net.createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
      return server;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EADDRINUSE') throw error;
    }
  }
}

/**
 * Distinct ports of the loopback address that are free, for programs that need a port number. The kernel assigns none
 * of them, if it leaves any: a port that it assigns may be that of any other client or server before the program binds it.
 * @param {number} count
 * @returns {Promise<number[]>}
 */
async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, listenAnywhere));
  const ports = servers.map((server) => /** @type {net.AddressInfo} */ (server.address()).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

module.exports = { freePorts };
