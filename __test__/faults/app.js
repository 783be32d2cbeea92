'use strict';

// The application under faults: an HTTP server of a few workers at two addresses, the second of which has a small backlog.
// The code of its workers is in server.js.
//
// PLAN: { workers, settings of setupPrimary(), supervise: options or null }, as JSON.

const { cluster, play, mark, obey } = require('../../testing/roles.js');
const { now } = require('./clock.js');
const { openNotes, serve } = require('./server.js');

const { PLAN, RCLUSTER_TMP, PORT = '0', NARROW_PORT = '0' } = process.env;
/** @type {{ workers: number, settings: import('../../index').ClusterSettings, supervise: any, backlogs: number[] }} */
const plan = JSON.parse(PLAN);

play({
  primary() {
    cluster.setupPrimary(plan.settings);
    cluster.on('listening', ({ id, process: { pid } }, { port }) => mark('listening', { id, pid, port }));
    cluster.on('exit', ({ process: { pid } }, code, signal) => mark('exit', { pid, code, signal }));
    process.on('warning', ({ code, message }) => mark('warning', { code, message }));

    /** Without descriptors no worker can start, so the app tries again, as any app must. */
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
      supervisor.on('restart', ({ pid, reason, phase }) => mark('restart', { pid, reason, phase }));
      supervisor.on('gave-up', (facts) => mark('gave-up', facts));
    } else {
      cluster.on('exit', fork);
      for (let count = plan.workers; count > 0; count--) fork();
    }
  },
  worker() {
    const { note } = openNotes(RCLUSTER_TMP);
    // With forwarding, the small backlog belongs to the primary, in front of the workers.
    const [wide, narrow] = plan.backlogs;
    serve(PORT, wide, note);
    serve(NARROW_PORT, plan.settings.forward ? wide : narrow, note);
  },
});
