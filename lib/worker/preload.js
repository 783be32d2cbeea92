'use strict';

// The primary starts each worker with `-r` and this file, behind the preloads of the app. It runs before the
// application, turns the worker-shaped `cluster` object that Node has made over to rcluster, and leaves no trace
// of itself for the application or its children to find.

const { Array, Reflect, realProcess } = require('../globals');

// Under `node --watch` a worker reports each file that it loads, and the app's primary gets that as a message. It is to
// hear of the app's files only, so there are no reports as long as ours are loaded.
const { send } = realProcess;
const reports = send !== undefined && realProcess.env.WATCH_REPORT_DEPENDENCIES !== undefined;
if (reports) {
  realProcess.send = function (/** @type {any[]} */ ...args) {
    return Array.isArray(args[0]?.['watch:require']) || Reflect.apply(send, this, args);
  };
}
try {
  require('../seam/preload').forgetPreload(__filename);
  // A worker thread runs the preloads of its process, too. It is nobody's cluster worker: there
  // `cluster.isPrimary` is true, as it is with the built-in.
  if (require('node:worker_threads').isMainThread) require('./enter').enter();
} finally {
  if (reports) realProcess.send = send;
}
