'use strict';

const { WeakMap } = require('../globals');
const diagnostics = require('node:diagnostics_channel');
const seam = require('../seam/worker');
const seamHttp = require('../seam/http');
const seamKept = require('../seam/kept');

/**
 * Connections that may later be handed over to another worker, and those that another worker has handed over.
 *
 * @param {import('../../binding').WorkerLink} link
 */
module.exports = function createKept(link) {
  /** @type {WeakMap<object, any>} the last request of each socket, if the policy reads requests */
  const requests = new WeakMap();
  let remembers = false;

  /** Starts to remember the last request of each connection. */
  function rememberRequests() {
    if (remembers) return;
    remembers = true;
    diagnostics.subscribe(seamHttp.REQUEST_START, (message) => {
      const { socket, request } = /** @type {any} */ (message);
      requests.set(socket, request);
    });
  }

  /**
   * A connection has been passed to its server.
   *
   * @param {import('./listening').Member} member
   * @param {any} handle the connection's
   * @param {boolean} served whether another worker has answered requests on it
   */
  function opened(member, handle, served) {
    const server = seam.ownerOf(member.handle);
    if (!seamHttp.isHttp1(server)) return;
    const socket = seam.ownerOf(handle);
    // The app may have closed it already.
    if (!socket || socket.destroyed || !seamKept.markPlain(socket, handle, member.listener ?? -1)) return;
    member.looks ??= seamKept.looksOf(socket);
    if (served) seamKept.resume(socket, handle, () => link.unread(handle.fd) === 0);
  }

  /**
   * @param {any} socket that is to be handed over
   * @param {import('./listening').Member['handOver']} by
   */
  function describe(socket, by) {
    const request = by?.by === 'address' ? undefined : requests.get(socket);
    return {
      fd: seamHttp.descriptorOf(socket),
      served: seamKept.isServed(socket),
      head: request && seamKept.headOf(request),
    };
  }

  return { rememberRequests, opened, describe };
};
