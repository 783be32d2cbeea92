'use strict';

// The way into a worker: what the primary has left for it in the environment is taken, and the built-in cluster object
// becomes ours.

const { JSON, Number, process } = require('../globals');
const fs = require('node:fs');
const { loadBinding, loadBindingFrom } = require('../load-binding');
const attach = require('./attach');

/** What of the environment is ours. */
const VARIABLES = /** @type {const} */ ([
  'RCLUSTER_LINK',
  'RCLUSTER_SETTINGS',
  'RCLUSTER_OWN',
  'RCLUSTER_ADDON',
  'RCLUSTER_RESTORE',
]);

/**
 * Once in each worker, on its main thread, before the app runs: when the preload is loaded, or when the app loads this
 * package where there are no preloads.
 */
function enter() {
  const { RCLUSTER_LINK: firstFd, RCLUSTER_SETTINGS: settings, RCLUSTER_OWN: names = '' } = process.env;
  const { RCLUSTER_ADDON: addon, RCLUSTER_RESTORE: restored } = process.env;
  if (firstFd === undefined) return;
  const own = names.split(',').map((name) => process.env[name] ?? '');
  for (const name of VARIABLES) delete process.env[name];
  if (restored !== undefined) restore(JSON.parse(restored));
  // Node makes no worker of a process that runs no file, with the options `-` or `-i` for example.
  if (require('node:cluster').worker === undefined) {
    if (addon !== undefined) fs.closeSync(Number(addon));
    return;
  }
  // The files of the package are gone: the primary has kept them.
  if (addon === undefined) loadBinding();
  else loadBindingFrom(Number(addon));
  attach(Number(firstFd), own, settings);
}

/**
 * What the app and its processes are to see of Node's options.
 * @param {{ execArgv?: string[], NODE_OPTIONS?: string | null }} shown
 */
function restore({ execArgv, NODE_OPTIONS }) {
  if (execArgv !== undefined) process.execArgv.splice(0, Infinity, ...execArgv);
  if (NODE_OPTIONS === null) delete process.env.NODE_OPTIONS;
  else if (NODE_OPTIONS !== undefined) process.env.NODE_OPTIONS = NODE_OPTIONS;
}

module.exports = { enter };
