'use strict';

// Where there is no native part, on macOS and Windows, rcluster is the built-in cluster with supervision in JavaScript:
// the same program runs on the laptop and in production. The primary says so once, since speed and some guarantees differ.
// `RCLUSTER_FALLBACK=1` in the environment does the same on Linux, to try what a laptop does.

const { process } = require('../globals');
const os = require('node:os');
const cluster = require('../builtin');
const { addExtras, noReport, unsupported } = require('../extras');
const { createPrimary } = require('./primary');
const { attach } = require('./worker');

if (cluster.isPrimary) {
  const why = process.platform === 'linux' ? 'as RCLUSTER_FALLBACK is set,' : `on ${process.platform}`;
  process.emitWarning(
    `rcluster is native on Linux only; ${why} it uses the built-in cluster module instead`,
    { code: 'RCLUSTER_FALLBACK' },
  );
}

if (cluster.worker) attach(cluster.worker);

module.exports = addExtras(cluster, {
  availableParallelism: os.availableParallelism,
  forwarding: () => [],
  lead: unsupported('cluster.lead()'),
  locks: { query: unsupported('cluster.locks.query()'), request: unsupported('cluster.locks.request()') },
  schedule: unsupported('cluster.schedule()'),
  schedulingStats: noReport,
  shared: unsupported('cluster.shared()'),
  stickyId: unsupported('cluster.stickyId()'),
  supervise: cluster.isPrimary ? createPrimary(cluster) : undefined,
});
