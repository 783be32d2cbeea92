'use strict';

// Where there is no native part, on macOS and Windows, rcluster is the built-in cluster: the same program runs on the
// laptop and in production. The primary says so once, since speed and some guarantees differ.

const os = require('node:os');
const cluster = require('./builtin');
const { addExtras, noReport, unsupported } = require('./extras');

if (cluster.isPrimary) {
  process.emitWarning(
    `rcluster is native on Linux only; on ${process.platform} it uses the built-in cluster module instead`,
    { code: 'RCLUSTER_FALLBACK' },
  );
}

if (cluster.worker) {
  addExtras(cluster.worker, { ready: unsupported('worker.ready()'), retire: unsupported('worker.retire()') });
}

const { setupPrimary } = cluster;

/** The settings that the built-in would ignore. */
const NATIVE = /** @type {const} */ (['forward', 'scheduling']);

/** @param {import('../index').ClusterSettings} [settings] */
function setupPortable(settings) {
  for (const name of NATIVE) {
    if (settings?.[name] !== undefined) unsupported(`setupPrimary({ ${name} })`)();
  }
  setupPrimary.call(cluster, /** @type {any} */ (settings));
}

// In a worker there is none.
if (cluster.isPrimary) cluster.setupPrimary = cluster.setupMaster = setupPortable;

module.exports = addExtras(cluster, {
  availableParallelism: os.availableParallelism,
  forwarding: () => [],
  schedule: unsupported('cluster.schedule()'),
  schedulingStats: noReport,
  stickyId: unsupported('cluster.stickyId()'),
  supervise: unsupported('cluster.supervise()'),
});
