'use strict';

// `node -r rcluster/register app.js` (or `--import`): the app's own `cluster` is rcluster, without a change to the app.
//
// Workers do not need this file: the primary starts them with a preload of their own. Their child processes
// inherit the option along with the rest of process.execArgv. Worker threads also get the preloads of the
// process, but a thread is neither a primary nor a worker, so nothing is done there.
//
// The native part is loaded at the first fork, not here, because NODE_OPTIONS carries this file into many
// processes that never fork a worker.

const cluster = require('./lib/builtin');
const { load } = require('./lib/later');
const { hasNativePart, isMainThread } = require('./lib/system');
const { syncBuiltinESMExports } = require('node:module');

if (isMainThread && !hasNativePart()) {
  require('./lib/fallback/index');
} else if (isMainThread && cluster.isPrimary) {
  load('seam/options').nameRegisterAnywhere();
  load('primary/index').takeOver(cluster);
}
// Updates `import { fork } from 'node:cluster'`.
if (isMainThread && cluster.isPrimary) syncBuiltinESMExports();
