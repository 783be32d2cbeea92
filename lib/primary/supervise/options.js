'use strict';

const { JSON, Object } = require('../../globals');
const path = require('node:path');

const { defineHidden } = require('../../define');
const { nameInGroup } = require('../../option-keys');
const { UNIX, badValue, check, fields } = require('./rules');

// Generated from crates/core/src/control/supervise/options.rs, whose tests compare the two. The native part
// validates its input by the same rules. The options are also checked here, because JSON cannot represent
// NaN, BigInt or functions in an error, and because the fallback works without the native part.
const ROWS = /** @type {Row[]} */ (/** @type {unknown} */ (require('./options.json')));

/**
 * @typedef {import('../../../index').SuperviseOptions} SuperviseOptions
 * @typedef {import('./rules').Rule} Rule
 * @typedef {{
 *   path: string,
 *   rule: Rule,
 *   default: any,
 *   follows: string | null,
 *   times: string | null,
 *   notLessThan: string | null,
 * }} Row
 *
 * @typedef {'restartIntensity' | 'totalIntensity' | 'backoff' | 'recycle'} Group
 * Complete options after validation.
 * @typedef {Required<Omit<SuperviseOptions, 'workers' | 'metrics' | 'backend' | Group>>
 *   & { [Key in Group]: { [Field in keyof Required<NonNullable<SuperviseOptions[Key]>>]: number } }
 *   & { workers: number, metrics: string, backend?: SuperviseOptions['backend'], recycle: { memory: number | string }, followsCpus?: boolean }} Complete
 */

/** Options for the JavaScript of the primary only, without a default. */
const PRIMARY_ONLY = ['backend'];

const MOST_WORKERS = ruleOf('workers').max;

/** @param {string} path */
function ruleOf(path) {
  return /** @type {Row} */ (ROWS.find((row) => row.path === path)).rule;
}

/**
 * The rows of the top-level options, or of those in a group, by their keys there.
 * @param {string} prefix `''` or `group.`.
 * @returns {[key: string, row: Row][]}
 */
function rowsOf(prefix) {
  const rows = ROWS.filter(({ path }) => path.startsWith(prefix));
  const keyed = rows.map((row) => /** @type {[string, Row]} */ ([row.path.slice(prefix.length), row]));
  return keyed.filter(([key]) => !key.includes('.'));
}

/** @param {string} prefix `''` or `group.`. */
function keysOf(prefix) {
  return rowsOf(prefix).map(([key]) => key);
}

/** What setupPrimary() takes: how workers are started. */
const SETTINGS =
  'args cwd exec execArgv execPath forward gid inspectPort scheduling serialization silent stdio uid windowsHide';

/**
 * The full name of a key that belongs to one of the groups, or to setupPrimary().
 * @param {string} key
 * @returns {string | undefined}
 */
function elsewhere(key) {
  if (SETTINGS.split(' ').includes(key)) return `setupPrimary({ ${key} })`;
  const groups = rowsOf('').filter(([, { rule }]) => rule.kind === 'group');
  return nameInGroup(Object.fromEntries(groups.map(([name]) => [name, keysOf(`${name}.`)])))(key);
}

/**
 * @param {any} complete All options so far.
 * @param {string} path
 */
function valueAt(complete, path) {
  return path.split('.').reduce((value, key) => value[key], complete);
}

/**
 * @param {any} complete All options so far.
 * @param {Row} row
 */
function defaultOf(complete, { default: value, follows, times }) {
  if (follows === null) return value;
  return valueAt(complete, follows) * (times === null ? 1 : valueAt(complete, times));
}

/**
 * Defines a property as an assignment would, even if Object.prototype has a setter of that name.
 * @param {object} target
 * @param {string} key
 * @param {unknown} value
 */
function put(target, key, value) {
  Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
}

/**
 * Checks the top-level options, or those of a group, and adds the defaults of missing ones.
 * @param {any} complete All options so far.
 * @param {any} target The object to add them to.
 * @param {string} prefix `''` or `group.`.
 * @param {Record<string, any>} given
 * @param {number} available How many workers 'auto' means.
 */
function completeOptions(complete, target, prefix, given, available) {
  for (const [key, row] of rowsOf(prefix)) {
    const name = `options.${row.path}`;
    if (row.rule.kind === 'group') {
      const group = `${row.path}.`;
      const members = {};
      put(target, key, members);
      const own = fields(name, Object.hasOwn(given, key) ? given[key] : {}, {}, keysOf(group));
      completeOptions(complete, members, group, own, available);
      continue;
    }
    const value = check(name, Object.hasOwn(given, key) ? given[key] : defaultOf(complete, row), row.rule);
    if (row.notLessThan !== null && value < valueAt(complete, row.notLessThan)) {
      const least = `"options.${row.notLessThan}" (${valueAt(complete, row.notLessThan)})`;
      throw badValue(name, `must not be less than ${least}`, value);
    }
    const isAuto = row.rule.kind === 'whole-or-auto' && value === 'auto';
    put(target, key, isAuto ? available : value);
    if (isAuto) defineHidden(target, 'followsCpus', { value: true });
  }
}

/**
 * Checks the options of supervise() and completes them with defaults.
 * @param {unknown} given
 * @param {number} available How many workers 'auto' means.
 * @param {unknown} [settings] The setting `supervise`, which has defaults.
 * @returns {Complete}
 * @throws {TypeError | RangeError} ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE or ERR_OUT_OF_RANGE.
 */
function parseOptions(given, available, settings = {}) {
  const known = [...keysOf(''), ...PRIMARY_ONLY];
  const defaults = fields('settings.supervise', settings, {}, known, elsewhere);
  const options = { ...defaults, ...fields('options', given, {}, known, elsewhere) };
  const complete = /** @type {any} */ ({});
  completeOptions(complete, complete, '', options, available);
  if (options.backend !== undefined) {
    require('../../shared/backend').checkBackend(options.backend, undefined);
    put(complete, 'backend', options.backend);
  }
  return complete;
}

/**
 * The options for the native part: all except `log`, which may be a function and stays here,
 * and `backend`, which is applied separately.
 * @param {Complete} options
 * @returns {string} JSON
 */
function toNative(options) {
  const { log: _, backend: __, ...complete } = options;
  const rest = { ...complete, followCpus: options.followsCpus === true };
  const { words } = ruleOf('control');
  const isPath = !words.includes(rest.control) && !rest.control.startsWith('@');
  // Resolved here, because the working directory may change before the native thread uses it.
  if (isPath) rest.control = path.resolve(rest.control);
  if (rest.metrics.startsWith(UNIX)) rest.metrics = UNIX + path.resolve(rest.metrics.slice(UNIX.length));
  // Some libraries add a method toJSON() to all objects, which would change the result.
  for (const value of [rest, ...Object.values(rest)]) {
    if (typeof value === 'object') defineHidden(value, 'toJSON', { value: undefined });
  }
  return JSON.stringify(rest);
}

module.exports = { PRIMARY_ONLY, parseOptions, toNative, MOST_WORKERS };
