'use strict';

const { Array, JSON, Number, Object, TypeError } = require('../../globals');
const net = require('node:net');
const path = require('node:path');
const { inspect } = require('node:util');

const { defineHidden } = require('../../define');
const errors = require('../../errors');
const { isOptions, refuseUnknownKeys } = require('../../option-keys');

// Generated from crates/core/src/control/supervise/options.rs, whose tests compare the two. The native part
// validates its input by the same rules. The options are also checked here, because JSON cannot represent
// NaN, BigInt or functions in an error, and because the fallback works without the native part.
const ROWS = /** @type {Row[]} */ (/** @type {unknown} */ (require('./options.json')));

/**
 * @typedef {import('../../../index').SuperviseOptions} SuperviseOptions
 * @typedef {{ kind: string, min: number, max: number, least: number, words: string[] }} Rule
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

/** The longest delay of a timer, in ms: 25 days. */
const LONGEST = 2 ** 31 - 1;
const MOST_WORKERS = ruleOf('workers').max;

/** The prefix of a Unix socket's path where other addresses are possible too. */
const UNIX = 'unix:';

/** @param {string} path */
function ruleOf(path) {
  return /** @type {Row} */ (ROWS.find((row) => row.path === path)).rule;
}

/**
 * @param {string} name
 * @param {string} expected
 * @param {unknown} value
 */
function wrongType(name, expected, value) {
  const error = new TypeError(`The "${name}" option must be ${expected}. Received ${inspect(value)}`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

/**
 * @param {string} name
 * @param {string} expected
 * @param {unknown} value
 */
function outOfRange(name, expected, value) {
  return errors.outOfRange(
    `The value of the "${name}" option is out of range. It must be ${expected}. Received ${inspect(value)}`,
  );
}

/**
 * @param {string} name
 * @param {string} reason
 * @param {unknown} value
 */
function badValue(name, reason, value) {
  return errors.invalidValue(`The "${name}" option ${reason}. Received ${inspect(value)}`);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {number} least
 * @param {number} most
 * @returns {number}
 */
function whole(name, value, least, most) {
  if (typeof value !== 'number') throw wrongType(name, 'a number', value);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw outOfRange(name, `an integer from ${least} to ${most}`, value);
  }
  return value;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {number} least
 * @param {number} most
 * @returns {number}
 */
function fraction(name, value, least, most) {
  if (typeof value !== 'number') throw wrongType(name, 'a number', value);
  if (!(value >= least && value <= most)) throw outOfRange(name, `from ${least} to ${most}`, value);
  return value;
}

/**
 * A number of bytes, or a percentage of all memory.
 * @param {string} name
 * @param {unknown} value
 * @param {Rule} rule
 */
function memory(name, value, { max }) {
  if (typeof value !== 'string') {
    if (typeof value !== 'number') throw wrongType(name, "a number or a string such as '80%'", value);
    return whole(name, value, 0, max);
  }
  const percent = /^\d{1,3}%$/.test(value) ? Number.parseInt(value, 10) : 0;
  if (percent < 1 || percent > 100) throw badValue(name, "must be bytes, or '1%' to '100%'", value);
  return value;
}

/**
 * A time in ms.
 * @param {string} name
 * @param {unknown} value
 * @param {number} [least]
 */
function time(name, value, least = 1) {
  return whole(name, value, least, LONGEST);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {readonly string[]} words
 * @returns {string}
 */
function oneOf(name, value, words) {
  if (typeof value !== 'string') throw wrongType(name, 'a string', value);
  if (!words.includes(value)) {
    throw badValue(name, `must be one of ${words.map((word) => `'${word}'`).join(', ')}`, value);
  }
  return value;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @returns {boolean}
 */
function flag(name, value) {
  if (typeof value !== 'boolean') throw wrongType(name, 'a boolean', value);
  return value;
}

/**
 * Checks that all fields of an object are known, and adds the defaults of missing ones.
 * @template {object} T
 * @param {string} name
 * @param {unknown} value
 * @param {T} defaults
 * @param {readonly string[]} [others] Fields without a default.
 * @returns {T & Record<string, any>}
 */
function fields(name, value, defaults, others = []) {
  if (!isOptions(value)) throw wrongType(name, 'an object', value);
  const known = [...Object.keys(defaults), ...others];
  refuseUnknownKeys(value, known, (key) => `The "${name}.${key}" option`);
  const given = Object.entries(value).filter(([, field]) => field !== undefined);
  return /** @type {any} */ ({ ...defaults, ...Object.fromEntries(given) });
}

/**
 * The name of an environment variable, or false for none.
 * @param {string} name
 * @param {unknown} value
 */
function variable(name, value) {
  if (value === false) return value;
  if (typeof value !== 'string') throw wrongType(name, 'a string or false', value);
  if (!/^[A-Za-z_]\w*$/.test(value) || /^(RCLUSTER_|NODE_(UNIQUE_ID|CHANNEL_|OPTIONS$))/.test(value)) {
    throw badValue(name, 'must be the name of a variable that neither Node nor rcluster needs', value);
  }
  return value;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {readonly string[]} words
 */
function log(name, value, words) {
  if (value === false || typeof value === 'function') return value;
  const list = words.map((word) => `'${word}'`).join(', ');
  if (typeof value !== 'string') throw wrongType(name, `false, ${list} or a function`, value);
  return oneOf(name, value, words);
}

/**
 * One of the given words, or the address of a Unix socket: a path, or `@name`.
 * @param {string} name
 * @param {unknown} value
 * @param {readonly string[]} words
 */
function place(name, value, words) {
  const list = words.map((word) => `'${word}'`).join(', ');
  if (typeof value !== 'string') throw wrongType(name, `${list}, a path or '@name'`, value);
  if (value === '' || value.includes('\0')) throw badValue(name, `must be ${list}, a path or '@name'`, value);
  return value;
}

/**
 * One of the given words, or an address to listen on: a port, `address:port` or `unix:path`.
 * @param {string} name
 * @param {unknown} value
 * @param {readonly string[]} words
 * @returns {string}
 */
function address(name, value, words) {
  if (typeof value === 'number') return `${whole(name, value, 0, 65_535)}`;
  const list = words.map((word) => `'${word}'`).join(', ');
  const expected = `${list}, a port, 'address:port' or 'unix:path'`;
  if (typeof value !== 'string') throw wrongType(name, expected, value);
  if (!words.includes(value) && !isAddress(value)) throw badValue(name, `must be ${expected}`, value);
  return value;
}

/**
 * Accepts the same addresses as crates/core/src/http/address.rs.
 * @param {string} text
 */
function isAddress(text) {
  if (text.startsWith(UNIX)) return /^[^@\0][^\0]*$/.test(text.slice(UNIX.length));
  const [, ipv6, host = 'localhost', port] = /^(?:\[([^\]%]*)\]:|([^:]*):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) return false;
  return ipv6 === undefined ? host === 'localhost' || net.isIPv4(host) : net.isIPv6(ipv6);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {number} least
 * @param {number} most
 */
function listOfWhole(name, value, least, most) {
  if (!Array.isArray(value)) throw wrongType(name, 'an array of numbers', value);
  return value.map((item, index) => whole(`${name}[${index}]`, item, least, most));
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {Rule} rule
 */
function offOrWhole(name, value, { least, min, max }) {
  const number = whole(name, value, min, max);
  if (number !== 0 && number < least) throw outOfRange(name, `0 (off) or at least ${least}`, value);
  return number;
}

/**
 * Checks a value by its rule.
 * @param {string} name
 * @param {unknown} value
 * @param {Rule} rule
 */
function check(name, value, rule) {
  const { kind, min, max, words } = rule;
  switch (kind) {
    case 'whole':
      return whole(name, value, min, max);
    case 'whole-or-auto':
      if (value === 'auto') return value;
      if (typeof value !== 'number') throw wrongType(name, "a number or 'auto'", value);
      return whole(name, value, min, max);
    case 'off-or-whole':
      return offOrWhole(name, value, rule);
    case 'memory':
      return memory(name, value, rule);
    case 'fraction':
      return fraction(name, value, min, max);
    case 'list-of-whole':
      return listOfWhole(name, value, min, max);
    case 'words':
      return oneOf(name, value, words);
    case 'flag':
      return flag(name, value);
    case 'variable':
      return variable(name, value);
    case 'place':
      return place(name, value, words);
    case 'address':
      return address(name, value, words);
    case 'log':
      return log(name, value, words);
    default:
      throw new TypeError(`options.json has the unknown rule "${kind}" for "${name}"`);
  }
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
  const defaults = fields('settings.supervise', settings, {}, known);
  const options = { ...defaults, ...fields('options', given, {}, known) };
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

module.exports = { PRIMARY_ONLY, parseOptions, toNative, time, whole, fields, MOST_WORKERS };
