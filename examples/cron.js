'use strict';

// A job that must run in one place only, on however many machines: one of all workers connected to the same
// server runs it. Needs Redis or Valkey. Start it twice, with two ports, then kill the worker that leads:
//
//   REDIS=redis://localhost:6379 PORT=3000 node examples/cron.js
//   REDIS=redis://localhost:6379 PORT=3001 node examples/cron.js

const http = require('node:http');
const cluster = require('rcluster');

const { PORT = '3000', REDIS = 'redis://localhost:6379' } = process.env;

if (cluster.isPrimary) {
  cluster.setupPrimary({ backend: REDIS });
  cluster.supervise({ workers: 2 });
} else {
  const reports = cluster.shared('reports', { size: '1MB', backend: REDIS });

  // If the leader's machine fails, another worker leads after 5 seconds. The lease is renewed natively.
  cluster.lead('reports', { scope: 'all', ttl: 5_000 }, ({ signal, token }) => {
    const report = async () => {
      await reports.read('last');
      const last = reports.entry('last');
      // A leader that was suspended and resumes after another one took over is refused because of its token.
      if (last !== undefined && last.value.token > token) return;
      const value = { token, pid: process.pid, time: Date.now() };
      const { ok } = await reports.set('last', value, { ifRevision: last?.revision ?? 0 });
      if (ok) await reports.increment('count');
    };
    const onError = (/** @type {Error} */ error) => console.error(error.message);
    const timer = setInterval(() => void report().catch(onError), 1000);
    signal.addEventListener('abort', () => clearInterval(timer));
  });

  const server = http.createServer((_request, response) => {
    const { pid, token } = reports.get('last') ?? {};
    response.end(`${reports.get('count') ?? 0} reports, the last by process ${pid} with token ${token}\n`);
  });
  server.listen(Number(PORT));
}
