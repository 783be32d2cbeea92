'use strict';

// The primary starts each worker with `-r` and this file. It runs before the application, turns
// the worker-shaped `cluster` object that Node has made over to rcluster, and leaves no trace
// of itself for the application or its children to find.

const { isMainThread } = require('node:worker_threads');
const seam = require('../seam/worker');

const place = process.execArgv.findIndex((arg, i) => arg === '-r' && process.execArgv[i + 1] === __filename);
if (place !== -1) process.execArgv.splice(place, 2);
seam.forgetPreload(__filename);

// A worker thread runs the preloads of its process, too. It is nobody's cluster worker: there
// `cluster.isPrimary` is true, as it is with the built-in.
const { RCLUSTER_LINK: firstFd, RCLUSTER_SETTINGS: settings, RCLUSTER_OWN: names = '' } = process.env;
if (isMainThread && firstFd !== undefined) {
  const own = names.split(',').map((name) => process.env[name] ?? '');
  delete process.env.RCLUSTER_LINK;
  delete process.env.RCLUSTER_OWN;
  delete process.env.RCLUSTER_SETTINGS;
  // Node makes no worker of a process that runs no file, with the options `-` or `-i` for example.
  if (require('node:cluster').worker !== undefined) require('./attach')(Number(firstFd), own, settings);
}
