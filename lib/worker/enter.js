'use strict';

// Starts a worker: reads the variables that the primary has set in the environment, and turns the built-in
// cluster object into ours.

const { JSON, Number, process } = require('../globals');
const { closeAddon, loadBinding, loadBindingFrom } = require('../load-binding');
const attach = require('./attach');

/** The variables of the environment that are ours. They are removed before the app runs. */
const VARIABLES = /** @type {const} */ ([
  'RCLUSTER_LINK',
  'RCLUSTER_SETTINGS',
  'RCLUSTER_OWN',
  'RCLUSTER_ADDON',
  'RCLUSTER_RESTORE',
]);

/**
 * Called once in each worker, on its main thread, before the app runs: by the preload or, where there are no
 * preloads, by the app's require().
 */
function enter() {
  const { RCLUSTER_EARLY: orders } = process.env;
  if (orders !== undefined) waitForOrders(Number(orders));
  const { RCLUSTER_LINK: firstFd, RCLUSTER_SETTINGS: settings, RCLUSTER_OWN: names = '' } = process.env;
  const { RCLUSTER_ADDON: addon, RCLUSTER_RESTORE: restored } = process.env;
  if (firstFd === undefined) return;
  const own = names
    .split(',')
    .map((name) => process.env[name] ?? '')
    .filter((address) => address !== '');
  for (const name of VARIABLES) delete process.env[name];
  if (restored !== undefined) restore(JSON.parse(restored));
  // Node does not make a process a worker if it runs no file, for example with the options `-` or `-i`:
  // `worker` is undefined or null.
  if (!require('node:cluster').worker) {
    closeAddon(addon);
    return;
  }
  bindingOf(addon);
  attach(Number(firstFd), own, settings);
}

/**
 * This process was started before the primary knew what it is for. It becomes a worker like any other, or ends.
 * @param {number} orders the socket on which the primary says so
 */
function waitForOrders(orders) {
  delete process.env.RCLUSTER_EARLY;
  const variables = bindingOf(process.env.RCLUSTER_ADDON).awaitOrders(orders);
  if (variables === null) return void process.exit(0);
  for (const variable of variables) {
    const end = variable.indexOf('=');
    process.env[variable.slice(0, end)] = variable.slice(end + 1);
  }
}

/** @param {string | undefined} addon what the primary names as the native part, if anything */
function bindingOf(addon) {
  return addon === undefined ? loadBinding() : loadBindingFrom(addon);
}

/**
 * Sets the Node options that the app and its child processes see.
 * @param {{ execArgv?: string[], NODE_OPTIONS?: string | null }} shown
 */
function restore({ execArgv, NODE_OPTIONS }) {
  if (execArgv !== undefined) process.execArgv.splice(0, Infinity, ...execArgv);
  if (NODE_OPTIONS === null) delete process.env.NODE_OPTIONS;
  else if (NODE_OPTIONS !== undefined) process.env.NODE_OPTIONS = NODE_OPTIONS;
}

module.exports = { enter };
