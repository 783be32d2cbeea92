'use strict';

const { Math } = require('../../globals');
const { describeFork } = require('../../seam/fork');
const { inspectorArg, inspectorPorts } = require('../inspector');

/**
 * @typedef {import('../../../index').ClusterSettings} ClusterSettings
 */

/**
 * Describes how the native part starts workers.
 * @param {ClusterSettings} settings
 * @param {number} count How many workers are about to be started.
 * @param {(inspectorPort: string | undefined) => any} forkOptions The options of child_process.fork().
 * @returns {import('../../../binding').SpawnOptions}
 */
function describeLaunch(settings, count, forkOptions) {
  const file = /** @type {string} */ (settings.exec);
  const args = settings.args ?? [];
  const ports = inspectorPorts(settings, count);
  const launch = { id: 0, ...describeFork(file, args, forkOptions(ports && '0')) };
  if (ports === undefined) return launch;
  // It is the last of Node's own options.
  const argument = launch.args.lastIndexOf(inspectorArg('0'), launch.args.length - args.length);
  return { ...launch, inspect: { argument, ...ports } };
}

/**
 * Provides inspector ports for further workers that are about to be started.
 * @param {ClusterSettings} settings
 * @param {number} count
 * @param {Pick<import('../../../binding').Primary, 'addInspectPorts'>} native
 */
function expectMore(settings, count, native) {
  const ports = inspectorPorts(settings, Math.max(0, count))?.ports;
  if (ports !== undefined) native.addInspectPorts(ports);
}

module.exports = { describeLaunch, expectMore };
