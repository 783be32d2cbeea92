'use strict';

const { existsSync, readFileSync } = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { Error, Number, Object, Promise, realProcess: process } = require('../globals');

/** The kernel's list of Unix sockets. */
const SOCKETS = '/proc/net/unix';

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

/** Whether there is a socket with an abstract name. @param {string} place `@name` */
function isBound(place) {
  // Where it cannot be read, there may be one.
  if (!existsSync(SOCKETS)) return true;
  return readFileSync(SOCKETS, 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${place}`));
}

/**
 * @param {string} place a path or `@name`
 * @param {AbortSignal} [signal] destroys the socket, also later
 * @returns {Promise<net.Socket>}
 */
function open(place, signal) {
  if (place.startsWith('@') && Number(process.versions.node.split('.')[0]) < 22) {
    if (!isBound(place)) {
      return Promise.reject(failure('ERR_RCLUSTER_NOT_RUNNING', `No cluster listens at ${place}`));
    }
    const message = `${place} is an abstract name, to which Node ${process.versions.node} cannot connect`;
    return Promise.reject(failure('ERR_RCLUSTER_UNSUPPORTED_NODE', message));
  }
  return new Promise((resolve, reject) => {
    const address = place.startsWith('@') ? `\0${place.slice(1)}` : place;
    const socket = net.connect({ path: address, signal });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
  });
}

module.exports = { failure, open, placesOf };
