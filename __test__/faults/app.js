'use strict';

// The application under faults: an HTTP server of a few workers at two addresses, of which the second has a small backlog.
// A worker writes down which connection and which request it has before it answers, in one write(2).
//
// PLAN: { workers, settings of setupPrimary(), supervise: options or null }, as JSON.

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { cluster, play, mark, obey } = require('../helpers/roles.js');
const { now } = require('./clock.js');

const { PLAN, RCLUSTER_TMP, PORT = '0', NARROW_PORT = '0' } = process.env;
/** @type {{ workers: number, settings: import('../../index').ClusterSettings, supervise: any, backlogs: number[] }} */
const plan = JSON.parse(PLAN);

play({
  primary() {
    cluster.setupPrimary(plan.settings);
    cluster.on('listening', ({ id, process: { pid } }, { port }) => mark('listening', { id, pid, port }));
    cluster.on('exit', ({ process: { pid } }, code, signal) => mark('exit', { pid, code, signal }));
    process.on('warning', ({ code, message }) => mark('warning', { code, message }));

    /** Without descriptors there is no new worker; so the app tries again, as any would have to. */
    const fork = () => {
      const again = () => setTimeout(fork, 100);
      try {
        cluster.fork().on('error', again);
      } catch (error) {
        mark('warning', { code: error.code, message: `fork(): ${error.message}` });
        again();
      }
    };
    /** @type {import('../../index').Supervisor | undefined} */
    let supervisor;
    obey({
      figures: () =>
        mark('figures', plan.settings.forward ? cluster.forwarding() : cluster.schedulingStats()),
      reload: () =>
        supervisor.reload().then(
          () => mark('reloaded'),
          (error) => mark('reloaded', { message: error.message }),
        ),
    });
    if (plan.settings.forward) mark('forwarding', cluster.forwarding());
    if (plan.supervise) {
      supervisor = cluster.supervise({ workers: plan.workers, ...plan.supervise });
      supervisor.on('drain-timeout', ({ pid }) => mark('drain-timeout', { pid, at: now() }));
      supervisor.on('gave-up', (facts) => mark('gave-up', facts));
    } else {
      cluster.on('exit', fork);
      for (let count = plan.workers; count > 0; count--) fork();
    }
  },
  worker() {
    const log = fs.openSync(path.join(RCLUSTER_TMP, `log-${process.pid}`), 'a');
    const note = (/** @type {string} */ text) => fs.writeSync(log, `${now()} ${text}\n`);
    const serve = (/** @type {string} */ port, /** @type {number} */ backlog) => {
      const server = http.createServer((request, response) => {
        const [, id, number, length] = request.url.split('/');
        note(`request ${id} ${number}`);
        response.setHeader('Content-Length', length);
        response.end(`${id}/${number} `.padEnd(Number(length), 'x'));
      });
      // Only what this project does may end a connection.
      Object.assign(server, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 });
      server.on('connection', (socket) => {
        const { remoteAddress } = socket;
        note(`connection ${remoteAddress}`);
        // Closed, or handed over.
        socket.once('close', () => note(`left ${remoteAddress}`));
      });
      // Clients that are gone before their answer are part of it.
      server.on('clientError', (error, socket) => socket.destroy());
      const at = /^\d+$/.test(port) ? { port: Number(port), host: '127.0.0.1' } : { path: port };
      server.listen({ ...at, backlog });
    };
    // Who listens by himself has the small backlog before him, in the primary.
    const [wide, narrow] = plan.backlogs;
    serve(PORT, wide);
    serve(NARROW_PORT, plan.settings.forward ? wide : narrow);
  },
});
