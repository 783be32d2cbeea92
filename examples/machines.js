'use strict';

// Workers of several machines that ask each other. Needs Redis or Valkey. Start it twice, with two ports; then
// `curl localhost:3000` asks all workers of both clusters how many requests they have had, and
// `curl localhost:3000/reset` has the leader, on whichever machine, reset the counts of all.
//
//   REDIS=redis://localhost:6379 PORT=3000 node examples/machines.js
//   REDIS=redis://localhost:6379 PORT=3001 node examples/machines.js

const http = require('node:http');
const os = require('node:os');
const cluster = require('rcluster');

const { PORT = '3000', REDIS = 'redis://localhost:6379' } = process.env;

/** All workers of all machines, which answer within a second. */
const ALL = /** @type {const} */ ({ scope: 'all', timeout: 1000 });

if (cluster.isPrimary) {
  cluster.setupPrimary({ backend: REDIS });
  cluster.supervise({ workers: 2 });
} else {
  let count = 0;
  cluster.handle('count', () => `${os.hostname()}:${PORT} has had ${count} in process ${process.pid}`);
  cluster.handle('forget', () => void (count = 0));

  // One worker of all machines resets them, so that two of them never do at once.
  cluster.handle('reset', () => {
    cluster.notify('all', 'forget', undefined, { scope: 'all' });
    return `process ${process.pid} has reset all`;
  });
  cluster.lead('reset', { scope: 'all', ttl: 2000 }, ({ signal }) => {
    return new Promise((resolve) => signal.addEventListener('abort', resolve));
  });

  /** @param {string | undefined} url */
  async function answer(url) {
    if (url === '/reset') return cluster.request({ leader: 'reset' }, 'reset', undefined, ALL);
    count += 1;
    const results = await cluster.request('all', 'count', undefined, ALL);
    // A machine that does not answer in time has a result as well, with the reason.
    return results.map(({ value, reason }) => value ?? reason.message).join('\n');
  }

  const server = http.createServer(async (request, response) => {
    try {
      response.end(`${await answer(request.url)}\n`);
    } catch (error) {
      response.writeHead(503).end(`${/** @type {Error} */ (error).message}\n`);
    }
  });
  server.listen(Number(PORT));
}
