'use strict';

// A supervised application whose requests take a while. `TAKES` is that time, in ms, `OPTIONS` are those of supervise().

const http = require('node:http');
const cluster = require('../../../testing/subject.js').load();

if (cluster.isPrimary) {
  const supervisor = cluster.supervise(JSON.parse(process.env.OPTIONS));
  const workers = new Map();
  cluster.on('listening', (worker, { port }) => {
    workers.set(worker.slot, worker.process.pid);
    if (workers.size === supervisor.workers.length) process.send({ port, workers: [...workers.values()] });
  });
} else {
  http
    .createServer((request, response) => {
      setTimeout(() => response.end('served'), Number(process.env.TAKES));
    })
    .listen(0, '127.0.0.1');
}
