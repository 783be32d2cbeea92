'use strict';

// Without a native part, on macOS and Windows, rcluster is the built-in cluster with supervision in
// JavaScript, so that the same program runs on a laptop and in production. The primary warns once, because
// speed and some guarantees differ. `RCLUSTER_FALLBACK=1` in the environment has the same effect on Linux, to
// test this.

const { process } = require('../globals');
const os = require('node:os');
const cluster = require('../builtin');
const { EXTRAS, addExtras, noReport, unsupported } = require('../extras');
const { CONSTANTS } = require('../primary/policies');
const { createPrimary } = require('./primary');
const { attach } = require('./worker');

if (cluster.isPrimary) {
  const why = process.platform === 'linux' ? 'as RCLUSTER_FALLBACK is set,' : `on ${process.platform}`;
  process.emitWarning(
    `rcluster is native on Linux only; ${why} it uses the built-in cluster module instead`,
    { code: 'RCLUSTER_FALLBACK' },
  );
}

// Another copy of rcluster, such as that of the command, may have done so before.
if (cluster.worker && !('slot' in cluster.worker)) attach(cluster.worker);

/** What only one side has with the native part. */
const extras = cluster.isPrimary
  ? {
      ...CONSTANTS,
      forwarding: () => [],
      schedule: unsupported('cluster.schedule()'),
      schedulingStats: noReport,
      supervise: createPrimary(cluster),
    }
  : {
      schedule: EXTRAS.schedule,
      stickyId: unsupported('cluster.stickyId()'),
      supervise: EXTRAS.supervise,
    };

module.exports = addExtras(cluster, {
  ...extras,
  BroadcastChannel: unsupported('cluster.BroadcastChannel'),
  availableParallelism: os.availableParallelism,
  handle: unsupported('cluster.handle()'),
  lead: unsupported('cluster.lead()'),
  locks: { query: unsupported('cluster.locks.query()'), request: unsupported('cluster.locks.request()') },
  notify: unsupported('cluster.notify()'),
  request: unsupported('cluster.request()'),
  shared: unsupported('cluster.shared()'),
});
