'use strict';

const process = require('node:process');
const builtin = require('./lib/builtin');
const { later } = require('./lib/later');
const { hasNativePart, isBundled, isMainThread } = require('./lib/system');

/** @type {() => typeof import('./lib/load-binding')} */
const native = later('load-binding');
/** @type {() => typeof import('./lib/primary')} */
const primary = later('primary/index');
/** @type {() => typeof import('./lib/worker/enter')} */
const enter = later('worker/enter');
/** @type {() => typeof import('./lib/worker/extras')} */
const workerExtras = later('worker/extras');

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
  exports.BroadcastChannel =
  exports.handle =
  exports.lead =
  exports.locks =
  exports.notify =
  exports.request =
  exports.shared =
  exports.stickyId =
    undefined;

// @ts-ignore An object that is first filled and then replaced is none that TypeScript knows.
module.exports = /** @type {any} */ (cluster());

function cluster() {
  if (!hasNativePart()) return require('./lib/fallback/index');
  // This throws an error that explains why: nothing else of the package can be loaded from inside a bundle.
  if (isBundled) return require('./lib/load-binding').loadBinding();
  if (builtin.isWorker) {
    // Usually the preload has already turned the built-in object into ours. A process without preloads, such
    // as a single executable that takes no options, does it here.
    if (isMainThread && process.env.RCLUSTER_LINK !== undefined) enter().enter();
    return workerExtras().addWorkerExtras(builtin);
  }
  // Loaded now rather than at the first fork, so that an installation without the native part fails at once.
  native().loadBinding();
  return primary().getPrimary();
}
