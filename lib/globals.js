'use strict';

// Functions that an application or its tests may replace at run time: timers and clocks, the functions of
// `process`, the globals of the language. These are the originals from the time when this file was loaded; in
// a worker that is before the application's code. Other files of lib/ import the names that they use in a
// line at the top, and then use them like the globals:
//
//     const { JSON, Map, process } = require('./globals');
//
// If an earlier preload of the application has replaced a function of the language, the one of a new context
// is used. Methods of prototypes are used as they are: Node itself does not work without most of them.

const { EventEmitter } = require('node:events');
const process = require('node:process');
const timers = require('node:timers');

/** @type {any} the global object of a new context, without replacements */
let pristine;

/** @param {unknown} value */
function isForeign(value) {
  return typeof value !== 'function' || !`${value}`.endsWith('{ [native code] }');
}

/**
 * @template {keyof typeof globalThis} Name
 * @param {Name} name
 * @returns {(typeof globalThis)[Name]}
 */
function take(name) {
  const value = globalThis[name];
  const isMissing = typeof value === 'object' ? value === null : isForeign(value);
  return isMissing ? untouched()[name] : value;
}

function untouched() {
  pristine ??= require('node:vm').runInNewContext('globalThis');
  return pristine;
}

const { apply } = untouchedIfForeign('Reflect', 'apply');
const { defineProperty } = untouchedIfForeign('Object', 'defineProperty');
const { getOwnPropertyDescriptor } = untouchedIfForeign('Object', 'getOwnPropertyDescriptor');
const { setPrototypeOf } = untouchedIfForeign('Object', 'setPrototypeOf');
const { ownKeys } = untouchedIfForeign('Reflect', 'ownKeys');

/**
 * Copies the functions and constants of a global, without inherited ones.
 *
 * @param {any} to
 * @param {string} name
 */
function takeStatic(to, name) {
  const source = take(/** @type {any} */ (name));
  for (const key of ownKeys(source)) {
    const value = source[key];
    const isReplaced = typeof value === 'function' && isForeign(value);
    const own = isReplaced ? (untouched()[name][key] ?? value) : value;
    if (['length', 'name', 'arguments', 'caller'].includes(key)) continue;
    defineProperty(to, key, { __proto__: null, value: own, configurable: true });
  }
  return to;
}

/**
 * @param {string} name the name of a global
 * @param {string} key the name of one of its functions
 */
function untouchedIfForeign(name, key) {
  const value = /** @type {any} */ (globalThis)[name];
  return isForeign(value?.[key]) ? untouched()[name] : value;
}

/** @param {string} name */
function statics(name) {
  return takeStatic({ __proto__: null }, name);
}

/**
 * A conversion function with the static functions of its global.
 *
 * @param {string} name
 */
function conversion(name) {
  const convert = take(/** @type {any} */ (name));
  return takeStatic((/** @type {unknown} */ value) => convert(value), name);
}

/**
 * A collection class whose methods cannot be replaced.
 *
 * @template {'Map' | 'Set' | 'WeakMap' | 'WeakSet'} Name
 * @param {Name} name
 * @returns {(typeof globalThis)[Name]}
 */
function collection(name) {
  const original = /** @type {any} */ (take(name));
  const Own = /** @type {any} */ (class extends original {});
  for (const key of ownKeys(original.prototype)) {
    if (key === 'constructor') continue;
    const { value, get } = getOwnPropertyDescriptor(original.prototype, key);
    const own = typeof value === 'function' && isForeign(value) ? untouched()[name].prototype[key] : value;
    const descriptor = get === undefined ? { value: own } : { get };
    defineProperty(Own.prototype, key, { __proto__: null, ...descriptor });
  }
  // So that additions to Object.prototype are not found here.
  setPrototypeOf(Own.prototype, null);
  return Own;
}

/**
 * Object with a defineProperty() whose descriptors inherit nothing: a `get` on Object.prototype would make
 * them invalid.
 */
function takeObject() {
  const own = statics('Object');
  const define = (/** @type {any} */ target, /** @type {any} */ key, /** @type {any} */ descriptor) =>
    defineProperty(target, key, { __proto__: null, ...descriptor });
  defineProperty(own, 'defineProperty', { __proto__: null, value: define });
  return own;
}

/** The functions of Buffer that lib/ uses. */
function takeBuffer() {
  const { Buffer } = require('node:buffer');
  const { alloc, byteLength, concat, from, isBuffer } = Buffer;
  return { alloc, byteLength, concat, from, isBuffer };
}

/**
 * Binds a method of one of Node's classes to an object.
 *
 * @param {Function} method
 * @param {object} self
 * @returns {any}
 */
function bound(method, self) {
  return (/** @type {any[]} */ ...args) => apply(method, self, args);
}

const real = /** @type {any} */ (process);
const { exit, hrtime, reallyExit } = real;
const emitter = /** @type {any} */ (EventEmitter.prototype);

/**
 * Ends this process, even if the application has replaced the functions for that.
 *
 * @param {number | string | null} [code]
 */
function exitProcess(code) {
  try {
    apply(exit, process, code === undefined ? [] : [code]);
  } catch (error) {
    // An exception of a listener for 'exit' ends the process in Node. Any other error came before the exit
    // began.
    if (real._exiting) throw error;
  }
  if (!real._exiting) {
    if (code !== undefined) process.exitCode = code;
    real._exiting = true;
    own.emit('exit', Number(process.exitCode ?? 0));
  }
  reallyExit(Number(process.exitCode ?? 0));
}

/**
 * `process`, with the functions that it had when this file was loaded. Everything else, including assignments
 * to `exitCode`, goes to `process` itself.
 *
 * @type {any}
 */
const own = { __proto__: process };
for (const name of [
  'cwd',
  'dlopen',
  'emitWarning',
  'getActiveResourcesInfo',
  'kill',
  'nextTick',
  'hasUncaughtExceptionCaptureCallback',
  '_getActiveHandles',
  '_getActiveRequests',
]) {
  if (typeof real[name] === 'function') own[name] = bound(real[name], process);
}
for (const name of ['emit', 'listenerCount', 'listeners', 'on', 'prependListener', 'removeListener']) {
  own[name] = bound(emitter[name], process);
}
// Node's own calls `process.on`, which may be replaced.
own.once = (/** @type {string} */ name, /** @type {Function} */ listener) => {
  const once = (/** @type {any[]} */ ...args) => {
    own.removeListener(name, once);
    return apply(listener, process, args);
  };
  // So that removeListener() finds it.
  once.listener = listener;
  return own.on(name, once);
};
own.exit = exitProcess;
if (typeof real._send === 'function') {
  // As Node's own send() and disconnect() do.
  own.send = (/** @type {any} */ message, /** @type {any} */ callback) =>
    process.connected && real._send(message, undefined, { swallowErrors: false }, callback);
  own.disconnect = () => {
    if (!process.connected) return;
    real.connected = false;
    // Queued messages with handles are sent first; Node disconnects after the last one.
    if (!real._handleQueue) real._disconnect();
  };
}

/**
 * The monotonic clock, in ms. Uses node:perf_hooks only if a preload has replaced the function of `process`,
 * because that would otherwise be loaded into each worker only for this.
 *
 * @returns {() => number}
 */
function takeClock() {
  if (!`${hrtime}`.includes('hrValues')) {
    const { performance } = require('node:perf_hooks');
    return bound(performance.now, performance);
  }
  return () => {
    const time = apply(hrtime, process, []);
    return time[0] * 1e3 + time[1] / 1e6;
  };
}

const math = statics('Math');

/** The longest delay of a timer, in ms: 25 days. */
const LONGEST_DELAY = 2 ** 31 - 1;

module.exports = {
  setTimeout: timers.setTimeout,
  clearTimeout: timers.clearTimeout,
  setInterval: timers.setInterval,
  clearInterval: timers.clearInterval,
  LONGEST_DELAY,
  setImmediate: timers.setImmediate,
  nextTick: /** @type {typeof process.nextTick} */ (own.nextTick),
  monotonic: takeClock(),
  /** Milliseconds since 1970. */
  wallClock: untouchedIfForeign('Date', 'now').now,
  random: math.random,

  process: /** @type {NodeJS.Process} */ (own),
  /** The real object, including the application's changes. */
  realProcess: process,
  /** The real global object, including the application's changes. */
  realGlobal: globalThis,

  Array: /** @type {ArrayConstructor} */ (statics('Array')),
  JSON: /** @type {JSON} */ (statics('JSON')),
  Math: /** @type {Math} */ (math),
  Object: /** @type {ObjectConstructor} */ (takeObject()),
  Reflect: /** @type {typeof Reflect} */ (statics('Reflect')),
  Boolean: /** @type {BooleanConstructor} */ (conversion('Boolean')),
  Number: /** @type {NumberConstructor} */ (conversion('Number')),
  String: /** @type {StringConstructor} */ (conversion('String')),
  Symbol: /** @type {SymbolConstructor} */ (conversion('Symbol')),
  Buffer: /** @type {BufferConstructor} */ (takeBuffer()),
  Map: collection('Map'),
  Promise: take('Promise'),
  Set: collection('Set'),
  WeakMap: collection('WeakMap'),
  WeakSet: collection('WeakSet'),
  // Not copied: an application may have replaced the error classes on purpose, and our errors must be of its
  // classes.
  Error,
  RangeError,
  TypeError,
  decodeURIComponent,
};
