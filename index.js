'use strict';

const process = require('node:process');
const { isMainThread } = require('node:worker_threads');
const builtin = require('./lib/builtin');
const { hasNativePart } = require('./lib/extras');

// `import { fork } from 'rcluster'` works because Node finds these names by reading this line, not by running it.
exports.isWorker =
  exports.isMaster =
  exports.isPrimary =
  exports.worker =
  exports.Worker =
  exports.workers =
  exports.settings =
  exports.SCHED_NONE =
  exports.SCHED_RR =
  exports.schedulingPolicy =
  exports.setupPrimary =
  exports.setupMaster =
  exports.fork =
  exports.disconnect =
  exports.availableParallelism =
  exports.supervise =
  exports.forwarding =
  exports.SCHED_LEAST_CONNECTIONS =
  exports.SCHED_LEAST_LOADED =
  exports.SCHED_STICKY =
  exports.SCHED_KERNEL =
  exports.SCHED_HOOK =
  exports.schedule =
  exports.schedulingStats =
  exports.lead =
  exports.locks =
  exports.shared =
  exports.stickyId =
    undefined;

// @ts-ignore An object that is first filled and then replaced is none that TypeScript knows.
module.exports = /** @type {any} */ (cluster());

function cluster() {
  if (!hasNativePart()) return require('./lib/fallback');
  if (builtin.isWorker) {
    // As a rule the preload that the primary started this worker with has turned the built-in object into ours. Where
    // there was none, as in a single executable that takes no options, that is done now.
    if (isMainThread && process.env.RCLUSTER_LINK !== undefined) require('./lib/worker/enter').enter();
    return require('./lib/worker/extras').addWorkerExtras(builtin);
  }
  // Loaded now rather than at the first fork: an installation that lacks the native part should say so at once.
  require('./lib/load-binding').loadBinding();
  return require('./lib/primary').getPrimary();
}
