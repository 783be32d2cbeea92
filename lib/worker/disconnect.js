'use strict';

const diagnostics = require('node:diagnostics_channel');
const { setTimeout } = require('../globals');
const seamHttp = require('../seam/http');

/**
 * Closes a server as the built-in does in `disconnect()`, with the server's own close(), but closes no http
 * connection with a request in transit: neither one without any bytes yet, which http closes since Node 26,
 * nor one whose request has arrived and has not been read. Those are answered first, then closed.
 *
 * @param {import('../../binding').WorkerLink} link
 */
module.exports = function createDisconnect(link) {
  /**
   * @param {import('./listening').Member} member
   * @param {() => void} closed called once the server is closed and its connections have ended
   */
  return function close({ owner, handle }, closed) {
    if (!owner) return handle.close(closed);
    if (!seamHttp.isHttp1(owner)) return owner.close(closed);
    diagnostics.subscribe(seamHttp.REQUEST_START, seamHttp.closeOnRequest);
    seamHttp.withIdleConnections(owner, closeIdle, () => owner.close(closed));
    waitForFirstRequests(owner);
  };

  /** @param {any} server */
  function closeIdle(server) {
    for (const { socket, response, idle } of seamHttp.connectionsOf(server)) {
      if (response) seamHttp.closeAfter(response);
      if (idle && socket.bytesRead > 0 && seamHttp.nothingWaits(socket, link)) socket.destroy();
    }
  }

  /**
   * Closes overdue connections, because http stops checking for them once its server is closed.
   *
   * @param {any} server
   */
  function waitForFirstRequests(server) {
    if (!(server.headersTimeout > 0)) return;
    const timer = setTimeout(() => {
      for (const { socket } of seamHttp.connectionsOf(server)) {
        if (socket.bytesRead === 0 && seamHttp.nothingWaits(socket, link)) socket.destroy();
      }
    }, server.headersTimeout);
    timer.unref();
  }
};
