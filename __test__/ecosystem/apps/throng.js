'use strict';

const cluster = require('cluster');
const http = require('node:http');
const throng = require('throng');
const { mark } = require('../../../testing/roles.js');

throng({
  count: 2,
  grace: 30_000,
  master() {
    cluster.on('listening', (worker, { port }) => mark('listening', { port, pid: worker.process.pid }));
    cluster.on('exit', (worker, code, signal) => mark('exit', { code, signal }));
  },
  worker(id, disconnect) {
    http.createServer((request, response) => response.end(String(process.pid))).listen(0, '127.0.0.1');
    process.once('SIGTERM', disconnect);
  },
});
