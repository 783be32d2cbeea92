'use strict';

// Where there is no native part, on macOS and Windows, rcluster is the built-in cluster: the same program runs on the
// laptop and in production. The primary says so once, since speed and some guarantees differ.

const os = require('node:os');
const cluster = require('./builtin');
const { addExtras, addUnsupported } = require('./extras');

if (cluster.isPrimary) {
  process.emitWarning(
    `rcluster is native on Linux only; on ${process.platform} it uses the built-in cluster module instead`,
    { code: 'RCLUSTER_FALLBACK' },
  );
}

if (cluster.worker) addUnsupported(cluster.worker);

const { setupPrimary } = cluster;

/** @param {import('../index').ClusterSettings} [settings] */
function setupWithoutForward(settings) {
  if (settings?.forward !== undefined) {
    const error = new Error(`Forwarding is native on Linux only, and this is ${process.platform}`);
    throw Object.assign(error, { code: 'ERR_RCLUSTER_UNSUPPORTED_PLATFORM' });
  }
  setupPrimary.call(cluster, /** @type {any} */ (settings));
}

// In a worker there is none.
if (cluster.isPrimary) cluster.setupPrimary = cluster.setupMaster = setupWithoutForward;

module.exports = addExtras(cluster, {
  availableParallelism: os.availableParallelism,
  forwarding: () => [],
});
