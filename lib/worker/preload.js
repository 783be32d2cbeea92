'use strict';

// The primary starts each worker with `-r` and this file, after the preloads of the app. It runs before the
// application, turns the worker-shaped `cluster` object that Node has made into rcluster, and removes every
// trace of itself that the application or its children could see.

const { load } = require('../later');
const { Array, Reflect, realProcess } = require('../globals');

// Under `node --watch` a worker reports each file that it loads, which the app's primary receives as a
// message. Only the app's files are to be reported, so reports are suppressed while ours are loaded.
const { send } = realProcess;
const reports = send !== undefined && realProcess.env.WATCH_REPORT_DEPENDENCIES !== undefined;
if (reports) {
  realProcess.send = function (/** @type {any[]} */ ...args) {
    return Array.isArray(args[0]?.['watch:require']) || Reflect.apply(send, this, args);
  };
}
try {
  load('seam/preload').forgetPreload(__filename);
  // A worker thread also runs the preloads of its process, but is not a cluster worker: there
  // `cluster.isPrimary` is true, as with the built-in.
  if (load('system').isMainThread) load('worker/enter').enter();
} finally {
  if (reports) realProcess.send = send;
}
