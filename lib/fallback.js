'use strict';

// Where there is no native part, on macOS and Windows, rcluster is the built-in cluster: the same program runs on the
// laptop and in production. The primary says so once, since speed and some guarantees differ.

const os = require('node:os');
const cluster = require('./builtin');
const { addExtras, unsupported } = require('./extras');

if (cluster.isPrimary) {
  process.emitWarning(
    `rcluster is native on Linux only; on ${process.platform} it uses the built-in cluster module instead`,
    { code: 'RCLUSTER_FALLBACK' },
  );
}

if (cluster.worker) {
  addExtras(cluster.worker, { ready: unsupported('worker.ready'), retire: unsupported('worker.retire') });
}

module.exports = addExtras(cluster, {
  availableParallelism: os.availableParallelism,
  supervise: unsupported('cluster.supervise'),
});
