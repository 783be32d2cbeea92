'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const diagnostics = require('node:diagnostics_channel');

const INTERNAL_ERROR = 2;

/**
 * Knows for whom the code that runs just now is running: which request it answers. It costs what an AsyncLocalStorage
 * costs, so it is there only where somebody needs to know.
 */
module.exports = function createExchanges() {
  /** @type {AsyncLocalStorage<any>} an http.ServerResponse or a stream of http2 */
  const current = new AsyncLocalStorage();

  diagnostics.subscribe('http.server.request.start', (message) => {
    current.enterWith(/** @type {{ response: any }} */ (message).response);
  });

  /** @param {any} session of an http2 server */
  function watchSession(session) {
    session.prependListener('stream', (/** @type {any} */ stream) => current.enterWith(stream));
  }

  /** Ends the exchange that the running code belongs to, if that is known, with status 500 if that is still possible. */
  function fail() {
    const exchange = current.getStore();
    if (!exchange || exchange.destroyed) return;
    try {
      if (exchange.session) failStream(exchange);
      else failResponse(exchange);
    } catch {
      // The application has put functions of its own in the place of these. Then it just ends.
      exchange.destroy();
    }
  }

  return { watchSession, fail };
};

/** @param {any} response */
function failResponse(response) {
  if (response.writableEnded) return;
  // Half an answer must not look like a whole one.
  if (response.headersSent) return response.destroy();
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  response.statusCode = 500;
  response.statusMessage = '';
  response.shouldKeepAlive = false;
  response.setHeader('Connection', 'close');
  response.setHeader('Content-Length', 0);
  response.end();
}

/** @param {any} stream */
function failStream(stream) {
  if (stream.headersSent) stream.close(INTERNAL_ERROR);
  else stream.respond({ ':status': 500 }, { endStream: true });
}
