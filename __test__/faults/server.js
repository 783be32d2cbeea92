'use strict';

// A worker of an application under test: it serves, and records each connection and request before it
// answers, in one write(2).

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { now } = require('./clock.js');

/**
 * @param {string} directory
 * @returns the notes of this process: `note()` adds a line, `fd` is where they are written
 */
function openNotes(directory) {
  const fd = fs.openSync(path.join(directory, `log-${process.pid}`), 'a');
  return { fd, note: (/** @type {string} */ text) => fs.writeSync(fd, `${now()} ${text}\n`) };
}

/**
 * Serves at a port of this machine, or at a path.
 * @param {string} port
 * @param {number} backlog
 * @param {(text: string) => void} note
 * @returns {http.Server}
 */
function serve(port, backlog, note) {
  const server = http.createServer((request, response) => {
    const [, id, number, length] = request.url.split('/');
    note(`request ${id} ${number}`);
    response.setHeader('Content-Length', length);
    response.end(`${id}/${number} `.padEnd(Number(length), 'x'));
  });
  // Timeouts of http must not end connections.
  Object.assign(server, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 });
  server.on('connection', (socket) => {
    const { remoteAddress } = socket;
    note(`connection ${remoteAddress}`);
    // Closed, or handed over.
    socket.once('close', () => note(`left ${remoteAddress}`));
  });
  // Clients that disconnect before their answer are part of the test.
  server.on('clientError', (error, socket) => socket.destroy());
  const at = /^\d+$/.test(port) ? { port: Number(port), host: '127.0.0.1' } : { path: port };
  return server.listen({ ...at, backlog });
}

module.exports = { openNotes, serve };
