'use strict';

// The primary starts supervised workers with `-r` and this file, because the app need not load rcluster itself, and
// without it a worker would end at once on a signal to the whole process group. It leaves no trace in the options
// that the app's own child processes inherit.

const cluster = require('../builtin');
const { forgetPreload } = require('../seam/preload');
const { isMainThread } = require('../system');

forgetPreload(__filename);
// A worker thread runs the preloads of its process as well.
if (isMainThread && cluster.isWorker) require('./index');
