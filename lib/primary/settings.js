'use strict';

const { Array, Error, Object, Reflect, String, process } = require('../globals');
const { invalidValue } = require('../errors');
const { later } = require('../later');
const { policyName } = require('./policies');

/** @type {() => typeof import('../option-keys')} */
const optionKeys = later('option-keys');

const SCHED_NONE = 1;
const SCHED_RR = 2;

/** @typedef {import('../../index').ClusterSettings} ClusterSettings */

/** The settings of the built-in. */
const BUILTIN = [
  'execArgv',
  'exec',
  'args',
  'cwd',
  'serialization',
  'silent',
  'stdio',
  'uid',
  'gid',
  'inspectPort',
  'windowsHide',
];

/** The settings that only rcluster has. */
const OURS = ['backend', 'forward', 'scheduling', 'supervise', 'execPath'];

/**
 * Refuses a key that looks like a misspelling of one of our settings. Other unknown keys are ignored, as the
 * built-in does: a program may pass an object with keys of its own.
 * @param {unknown} options
 * @throws {TypeError} ERR_INVALID_ARG_VALUE
 */
function checkSettings(options) {
  if (typeof options !== 'object' || options === null) return;
  const known = [...BUILTIN, ...OURS];
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const meant = optionKeys().closest(key, known, () => 2);
    if (meant !== undefined && OURS.includes(meant)) {
      throw invalidValue(`The setting "${key}" does not exist. Did you mean "${meant}"?`);
    }
  }
}

/**
 * Merges the current settings with the options of setupPrimary(), always into a new object.
 * @param {ClusterSettings} current
 * @param {ClusterSettings} [options]
 * @returns {ClusterSettings}
 */
function mergeSettings(current, options) {
  const settings = {
    args: process.argv.slice(2),
    exec: process.argv[1],
    execArgv: process.execArgv,
    silent: false,
    ...current,
    ...options,
  };
  // Without this, V8's profiler would make all processes write to the same file.
  if (hasOption(settings.execArgv, '--prof') && !hasOption(settings.execArgv, '--logfile=')) {
    settings.execArgv = [...settings.execArgv, '--logfile=v8-%p.log'];
  }
  return settings;
}

const { startsWith } = String.prototype;

/**
 * Whether an option begins with `start`. As in the built-in, any array-like value is accepted, with any items
 * that can be converted to strings.
 * @param {ArrayLike<unknown>} options
 * @param {string} start
 */
function hasOption(options, start) {
  return Reflect.apply(Array.prototype.some, options, [
    (option) => Reflect.apply(startsWith, option, [start]),
  ]);
}

/** @returns {number} The scheduling policy in the environment, or the default. */
function initialPolicy() {
  return process.env.NODE_CLUSTER_SCHED_POLICY === 'none' ? SCHED_NONE : SCHED_RR;
}

/**
 * @param {unknown} policy
 * @param {unknown} hook The hook, if there is one.
 * @throws {Error} ERR_INTERNAL_ASSERTION, as the built-in throws.
 */
function checkPolicy(policy, hook) {
  const name = policyName(policy);
  if (name !== undefined && (name !== 'hook' || hook !== undefined)) return;
  const error = new Error(`Bad cluster.schedulingPolicy: ${policy}`);
  throw Object.assign(error, { code: 'ERR_INTERNAL_ASSERTION' });
}

module.exports = { SCHED_NONE, SCHED_RR, checkPolicy, checkSettings, initialPolicy, mergeSettings };
