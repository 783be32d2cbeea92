'use strict';

// A report that is slow to make. However many clients request it, from whichever worker, it is made once.
// After a minute it is made again, and clients get the old one meanwhile.
//
//   PORT=3000 node examples/single-flight.js

const http = require('node:http');
const { setTimeout: pause } = require('node:timers/promises');
const cluster = require('rcluster');

const { PORT = '3000' } = process.env;

/** @typedef {{ number: number, by: number }} Report */

if (cluster.isPrimary) {
  cluster.supervise({ workers: 2 });
} else {
  const store = cluster.shared('reports', { size: '1MB' });

  /** @returns {Promise<Report>} */
  const make = async () => {
    await pause(300);
    return { number: await store.increment('made'), by: process.pid };
  };

  const server = http.createServer(async (_request, response) => {
    const report = await store.getOrCreate('report', make, {
      ttl: 60_000,
      grace: 600_000,
      negativeTtl: 1_000,
    });
    response.end(`report ${report.number}, made by process ${report.by}, sent by process ${process.pid}\n`);
  });
  server.listen(Number(PORT));
}
