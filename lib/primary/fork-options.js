'use strict';

const { inspectorArg, inspectorArgs } = require('./inspector');
const { programOf } = require('./program');

/**
 * The options of child_process.fork() for a worker.
 * @param {import('../../index').ClusterSettings} settings
 * @param {NodeJS.ProcessEnv} env
 * @param {string | (() => number)} inspector The port of its inspector if it is known, or what counts the inspectors.
 */
function forkOptions(settings, env, inspector) {
  const inspectorOptions =
    typeof inspector === 'string' ? [inspectorArg(inspector)] : inspectorArgs(settings, inspector);
  return {
    cwd: settings.cwd,
    env,
    serialization: settings.serialization,
    silent: settings.silent,
    windowsHide: settings.windowsHide,
    execPath: programOf(settings),
    execArgv: [.../** @type {string[]} */ (settings.execArgv), ...inspectorOptions],
    stdio: settings.stdio,
    gid: settings.gid,
    uid: settings.uid,
  };
}

module.exports = { forkOptions };
