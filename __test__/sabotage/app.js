'use strict';

// The attacked application: a few workers that serve as in the fault tests, and one more that runs the attacks.
//
// PLAN: { workers, settings of setupPrimary(), choose: whether a function chooses the worker }, as JSON.

const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { cluster, play, mark, obey } = require('../../testing/roles.js');
const { now } = require('../faults/clock.js');
const { openNotes, serve } = require('../faults/server.js');

const { PLAN, RCLUSTER_TMP, PORT = '0', HELPER, SABOTEUR } = process.env;
/** @type {{ workers: number, settings: import('../../index').ClusterSettings, choose: boolean }} */
const plan = JSON.parse(PLAN);

/** Larger than the number of clients. */
const BACKLOG = 4096;

play({
  primary() {
    cluster.setupPrimary(plan.settings);
    if (plan.choose) {
      let turn = 0;
      cluster.schedule((_, workers) => workers[turn++ % workers.length]);
    }
    cluster.on('listening', ({ id, process: { pid } }, { port }) => mark('listening', { id, pid, port }));
    cluster.on('exit', ({ id, process: { pid } }, code, signal) =>
      mark('exit', { id, pid, code, signal, at: now() }),
    );
    cluster.on('message', (worker, message, handle) => {
      const sent = /** @type {any} */ (handle);
      if (sent?.destroy) sent.destroy();
      else if (sent) sent.close();
      else mark('said', message);
    });
    process.on('warning', ({ code, message }) => mark('warning', { code, message }));
    // The observer of this process has ended, and no other process would end it.
    process.on('disconnect', () => process.exit(1));
    let last = performance.eventLoopUtilization();
    obey({
      fork: () => cluster.fork(),
      saboteur: () => {
        // It runs before the preload of the package, which removes the variables.
        const preload = path.join(__dirname, 'preload.js');
        const NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --require "${preload}"`;
        cluster.fork({ NODE_OPTIONS, SABOTEUR: '1' });
      },
      sabotage: ({ id, name }) => cluster.workers[id].send(name),
      kill: (id) => cluster.workers[id]?.process.kill('SIGKILL'),
      // Shows that the primary's own event loop turns, and how busy it has been since the last time.
      ping: () => {
        const now = performance.eventLoopUtilization();
        mark('pong', { utilization: performance.eventLoopUtilization(now, last).utilization });
        last = now;
      },
    });
    if (plan.settings.forward) mark('forwarding', cluster.forwarding());
    for (let count = plan.workers; count > 0; count--) cluster.fork();
  },
  worker() {
    const notes = openNotes(RCLUSTER_TMP);
    const server = serve(PORT, BACKLOG, notes.note);
    if (!SABOTEUR) return;
    const { WAYS } = require('./ways');
    const { createKit } = require('./kit.js');
    const kit = createKit({ server, notes, helper: HELPER, own: PORT, link: globalThis.saboteurLink });
    process.on('message', async (name) => {
      process.send('begins', () => {
        // The attack may end in an exception, or be refused by the system, which is ignored; but a way that
        // cannot be tried on this machine is reported.
        Promise.resolve()
          .then(() => WAYS[name].act(kit))
          .then(
            () => process.connected && process.send('done'),
            (error) => process.connected && process.send({ failed: error.stack }),
          );
      });
    });
  },
});
