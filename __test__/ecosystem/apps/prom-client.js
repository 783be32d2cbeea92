'use strict';

// Every worker counts the requests that it has answered; the primary sums the counts.

const cluster = require('cluster');
const http = require('node:http');
const { AggregatorRegistry, Counter, Gauge, Histogram } = require('prom-client');
const { mark, obey } = require('../../../testing/roles.js');

const WORKERS = 3;

if (cluster.isPrimary) {
  const registry = new AggregatorRegistry();
  cluster.on('listening', (worker, { port }) => mark('listening', { port, pid: worker.process.pid }));
  cluster.on('exit', (worker, code, signal) => mark('exit', { code, signal }));
  for (let count = 0; count < WORKERS; count++) cluster.fork();
  obey({
    metrics: async () => mark('metrics', await registry.clusterMetrics()),
    disconnect: () => cluster.disconnect(),
  });
} else {
  const answered = new Counter({ name: 'answered', help: 'requests', labelNames: ['pid'] });
  const sizes = new Histogram({ name: 'sizes', help: 'sizes of the requests', buckets: [10, 100, 1000] });
  const alive = new Gauge({ name: 'alive', help: 'workers', aggregator: 'sum' });
  alive.set(1);
  // A registry in each worker sets up its answers to the primary.
  exports.registry = new AggregatorRegistry();
  http
    .createServer((request, response) => {
      answered.inc({ pid: process.pid });
      sizes.observe(Number(request.headers['x-size']));
      response.end(String(process.pid));
    })
    .listen(0, '127.0.0.1');
}
