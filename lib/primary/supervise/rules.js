'use strict';

// Checks values by the rules of options.json. The native part validates its input by the same rules.

const { Array, LONGEST_DELAY, Number, Object, TypeError } = require('../../globals');
const net = require('node:net');
const { inspect } = require('node:util');

const errors = require('../../errors');
const { isOptions, refuseUnknownKeys } = require('../../option-keys');

/** @typedef {{ kind: string, min: number, max: number, least: number, words: string[] }} Rule */

/** The prefix of a Unix socket's path where other addresses are possible too. */
const UNIX = 'unix:';

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
  return whole(name, value, least, LONGEST_DELAY);
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
 * @param {(key: string) => string | undefined} [elsewhere] The full name of a field that belongs to something else.
 * @returns {T & Record<string, any>}
 */
function fields(name, value, defaults, others = [], elsewhere = undefined) {
  if (!isOptions(value)) throw wrongType(name, 'an object', value);
  const known = [...Object.keys(defaults), ...others];
  refuseUnknownKeys(value, known, (key) => `The "${name}.${key}" option`, elsewhere);
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
  const list = `false, ${words.map((word) => `'${word}'`).join(', ')} or a function`;
  if (typeof value !== 'string') throw wrongType(name, list, value);
  if (!words.includes(value)) throw badValue(name, `must be ${list}`, value);
  return value;
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

module.exports = { UNIX, badValue, check, fields, time, whole };
