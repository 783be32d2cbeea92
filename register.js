'use strict';

// `node -r rcluster/register app.js` (or `--import`): the app's own `cluster` is rcluster, without a change to the app.
//
// Workers do not load it, since what they need comes with them when the primary starts them; their own processes inherit
// the option along with the rest of process.execArgv. Nor do worker threads need it: they get the preloads of the process, but
// a thread serves nobody's workers.
//
// The native part is loaded at the first fork only, because in NODE_OPTIONS this file reaches many processes that
// never fork a worker.

const cluster = require('./lib/builtin');
const { hasNativePart } = require('./lib/extras');
const { syncBuiltinESMExports } = require('node:module');
const { isMainThread } = require('node:worker_threads');

if (isMainThread && !hasNativePart()) {
  require('./lib/fallback');
} else if (isMainThread && cluster.isPrimary) {
  require('./lib/seam/options').nameRegisterAnywhere();
  require('./lib/primary').takeOver(cluster);
  // For those who `import { fork } from 'node:cluster'`.
  syncBuiltinESMExports();
}
