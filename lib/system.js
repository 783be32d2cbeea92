'use strict';

// Facts about this process.

const { process } = require('./globals');

/** Whether this system has a native part. RCLUSTER_FALLBACK=1 disables it, to test what other systems do. */
function hasNativePart() {
  return process.platform === 'linux' && process.env.RCLUSTER_FALLBACK !== '1';
}

/**
 * Whether this is the main thread. (Requiring node:worker_threads would load everything that threads need
 * into each worker.) In a thread, Node replaces functions that it may not call, such as abort(), by functions
 * marked as disabled.
 */
const isMainThread = /** @type {{ disabled?: boolean }} */ (process.abort).disabled !== true;

/** Whether this code is inside a bundle, so that the files next to it are elsewhere. */
const isBundled = typeof __filename !== 'string' || !__filename.endsWith('system.js');

module.exports = { hasNativePart, isBundled, isMainThread };
