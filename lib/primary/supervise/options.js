'use strict';

const { Array, Number, Object, RangeError, TypeError } = require('../../globals');
const { inspect } = require('node:util');

const { invalidValue } = require('../../errors');
const { isOptions, refuseUnknownKeys } = require('../../option-keys');

/**
 * @typedef {import('../../../index').SuperviseOptions} SuperviseOptions
 * @typedef {import('../../../binding').SupervisionOptions} NativeOptions
 */

/** The longest time, in ms, that timers know: 25 days. */
const LONGEST = 2 ** 31 - 1;
const MOST_WORKERS = 1024;

/** What is not mentioned. `workers`, `totalIntensity` and `shutdownTimeout` follow from other values. */
const DEFAULTS = {
  standby: 0,
  restart: 'always',
  stopExitCodes: /** @type {number[]} */ ([]),
  restartIntensity: { max: 60, period: 60_000 },
  backoff: { initial: 100, max: 15_000, factor: 2, jitter: 0.2, immediate: 5, resetAfter: 1000 },
  onGiveUp: 'degrade',
  giveUpExitCode: 70,
  startUpLimit: 60_000,
  ready: 'listening',
  readyTimeout: 30_000,
  drainTimeout: 8000,
  killTimeout: 1000,
  unresponsiveAfter: 0,
  recycle: { memory: 0, age: 0, connections: 0, jitter: 0.1 },
  retireOnException: true,
  instanceVar: /** @type {string | false} */ (false),
  reloadConcurrency: 1,
  signals: true,
  shutdownDelay: 0,
  log: /** @type {SuperviseOptions['log']} */ ('warn'),
};

const DERIVED = ['workers', 'totalIntensity', 'shutdownTimeout'];

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
  const error = new RangeError(
    `The value of the "${name}" option is out of range. It must be ${expected}. Received ${inspect(value)}`,
  );
  return Object.assign(error, { code: 'ERR_OUT_OF_RANGE' });
}

/**
 * @param {string} name
 * @param {string} reason
 * @param {unknown} value
 */
function badValue(name, reason, value) {
  return invalidValue(`The "${name}" option ${reason}. Received ${inspect(value)}`);
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
 * An object whose fields are all known, with the defaults for those it lacks.
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
 * @param {string} name
 * @param {unknown} value
 * @param {{ max: number, period: number }} defaults
 */
function intensity(name, value, defaults) {
  const { max, period } = fields(name, value, defaults);
  return { max: whole(`${name}.max`, max, 0, 1e6), period: time(`${name}.period`, period) };
}

/** @param {unknown} value */
function backoff(value) {
  const name = 'options.backoff';
  const { initial, max, factor, jitter, immediate, resetAfter } = fields(name, value, DEFAULTS.backoff);
  time(`${name}.initial`, initial, 0);
  time(`${name}.max`, max, 0);
  if (max < initial) {
    throw badValue(`${name}.max`, `must not be less than "${name}.initial" (${initial})`, max);
  }
  return {
    initial,
    max,
    factor: fraction(`${name}.factor`, factor, 1, 100),
    jitter: fraction(`${name}.jitter`, jitter, 0, 1),
    immediate: whole(`${name}.immediate`, immediate, 0, 1e6),
    resetAfter: time(`${name}.resetAfter`, resetAfter),
  };
}

/** @param {unknown} value */
function recycle(value) {
  const name = 'options.recycle';
  const { memory, age, connections, jitter } = fields(name, value, DEFAULTS.recycle);
  return {
    memory: whole(`${name}.memory`, memory, 0, Number.MAX_SAFE_INTEGER),
    age: time(`${name}.age`, age, 0),
    connections: whole(`${name}.connections`, connections, 0, Number.MAX_SAFE_INTEGER),
    jitter: fraction(`${name}.jitter`, jitter, 0, 1),
  };
}

/**
 * The name of a variable, or nothing for none.
 * @param {string} name
 * @param {unknown} value
 * @returns {string | undefined}
 */
function variable(name, value) {
  if (value === false) return undefined;
  if (typeof value !== 'string') throw wrongType(name, 'a string or false', value);
  if (!/^[A-Za-z_]\w*$/.test(value) || /^(RCLUSTER_|NODE_(UNIQUE_ID|CHANNEL_|OPTIONS$))/.test(value)) {
    throw badValue(name, 'must be the name of a variable that neither Node nor rcluster needs', value);
  }
  return value;
}

/**
 * @param {string} name
 * @param {unknown} value
 * @returns {NonNullable<SuperviseOptions['log']>}
 */
function log(name, value) {
  if (value === false || typeof value === 'function') return /** @type {any} */ (value);
  if (typeof value !== 'string') throw wrongType(name, "false, 'warn', 'info' or a function", value);
  return /** @type {'warn' | 'info'} */ (oneOf(name, value, ['warn', 'info']));
}

/** @param {unknown} value */
function exitCodes(value) {
  const name = 'options.stopExitCodes';
  if (!Array.isArray(value)) throw wrongType(name, 'an array of numbers', value);
  return value.map((code, index) => whole(`${name}[${index}]`, code, 0, 255));
}

/**
 * Checks the options of supervise() and fills in what is not mentioned.
 * @param {unknown} given
 * @param {number} available How many workers 'auto' means.
 * @param {unknown} [settings] The setting `supervise`, which has defaults.
 * @returns {NativeOptions & {
 *   signals: boolean,
 *   reloadConcurrency: number,
 *   shutdownDelay: number,
 *   log: NonNullable<SuperviseOptions['log']>,
 * }}
 * @throws {TypeError | RangeError} ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE or ERR_OUT_OF_RANGE.
 */
function parseOptions(given, available, settings = {}) {
  const defaults = fields('settings.supervise', settings, DEFAULTS, DERIVED);
  const options = fields('options', given, defaults, DERIVED);
  const { workers: wanted = 'auto' } = options;
  if (wanted !== 'auto' && typeof wanted !== 'number') {
    throw wrongType('options.workers', "a number or 'auto'", wanted);
  }
  const workers = wanted === 'auto' ? available : whole('options.workers', wanted, 1, MOST_WORKERS);
  const restart = oneOf('options.restart', options.restart, ['always', 'on-failure', 'never']);
  const restartIntensity = intensity(
    'options.restartIntensity',
    options.restartIntensity,
    DEFAULTS.restartIntensity,
  );
  const total = { max: restartIntensity.max * workers, period: restartIntensity.period };
  const drainTimeout = time('options.drainTimeout', options.drainTimeout, 0);
  const unresponsiveAfter = time('options.unresponsiveAfter', options.unresponsiveAfter, 0);
  if (unresponsiveAfter !== 0 && unresponsiveAfter < 100) {
    throw outOfRange('options.unresponsiveAfter', '0 (off) or at least 100', unresponsiveAfter);
  }
  return {
    workers,
    standby: whole('options.standby', options.standby, 0, MOST_WORKERS),
    restart,
    stopExitCodes: exitCodes(options.stopExitCodes),
    restartIntensity,
    totalIntensity: intensity('options.totalIntensity', options.totalIntensity ?? {}, total),
    backoff: backoff(options.backoff),
    onGiveUp: oneOf('options.onGiveUp', options.onGiveUp, ['degrade', 'exit']),
    giveUpExitCode: whole('options.giveUpExitCode', options.giveUpExitCode, 0, 255),
    startUpLimit: time('options.startUpLimit', options.startUpLimit, 0),
    ready: oneOf('options.ready', options.ready, ['online', 'listening', 'explicit']),
    readyTimeout: time('options.readyTimeout', options.readyTimeout),
    drainTimeout,
    killTimeout: time('options.killTimeout', options.killTimeout, 0),
    shutdownTimeout: time('options.shutdownTimeout', options.shutdownTimeout ?? drainTimeout, 0),
    unresponsiveAfter,
    recycle: recycle(options.recycle),
    retireOnException: flag('options.retireOnException', options.retireOnException),
    instanceVar: variable('options.instanceVar', options.instanceVar),
    reloadConcurrency: whole('options.reloadConcurrency', options.reloadConcurrency, 1, MOST_WORKERS),
    signals: flag('options.signals', options.signals),
    shutdownDelay: time('options.shutdownDelay', options.shutdownDelay, 0),
    log: log('options.log', options.log),
  };
}

module.exports = { parseOptions, time, whole, fields, MOST_WORKERS };
