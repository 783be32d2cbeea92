'use strict';

const { readFile } = require('node:fs/promises');
const net = require('node:net');
const path = require('node:path');
const { Error, Number, Object, Promise, realProcess: process } = require('../globals');

/**
 * @param {string} code
 * @param {string} message
 * @param {unknown} [cause]
 */
function failure(code, message, cause) {
  return Object.assign(new Error(message, cause === undefined ? undefined : { cause }), { code });
}

/**
 * The possible addresses of the control socket of a process, by default.
 * @param {number} pid
 */
function placesOf(pid) {
  const { RUNTIME_DIRECTORY: service, XDG_RUNTIME_DIR: session } = process.env;
  const places = [];
  if (session?.startsWith('/')) places.push(path.join(session, 'rcluster', `${pid}.sock`));
  places.push(`@rcluster/${process.getuid?.()}/${pid}`);
  if (service?.startsWith('/')) places.push(path.join(service.split(':')[0], 'rcluster.sock'));
  return places;
}

/** A line of /proc/net/unix about a listening socket, and its name. */
const LISTENING = /^\S+ \S+ \S+ 00010000 \S+ \S+ +\d+ (.*)$/gm;

/**
 * Why Node 20 cannot connect to an abstract name: first of all, because nothing listens there.
 * @param {string} place
 */
async function refusal(place) {
  try {
    const sockets = await readFile('/proc/net/unix', 'utf8');
    const names = [...sockets.matchAll(LISTENING)].map(([, name]) => name);
    if (!names.includes(place)) return failure('ECONNREFUSED', `connect ECONNREFUSED ${place}`);
  } catch {
    // Whether something listens is unknown, and the version of Node remains a reason.
  }
  const message = `${place} is an abstract name, to which Node ${process.versions.node} cannot connect`;
  return failure('ERR_RCLUSTER_UNSUPPORTED_NODE', message);
}

/**
 * @param {string} place a path or `@name`
 * @param {AbortSignal} [signal] destroys the socket, also later
 * @returns {Promise<net.Socket>}
 */
async function open(place, signal) {
  const isAbstract = place.startsWith('@');
  if (isAbstract && Number(process.versions.node.split('.')[0]) < 22) throw await refusal(place);
  return new Promise((resolve, reject) => {
    const address = isAbstract ? `\0${place.slice(1)}` : place;
    const socket = net.connect({ path: address, signal });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
  });
}

module.exports = { failure, open, placesOf };
