'use strict';

// What an application or its tests may replace while it runs: timers and clocks, the functions of `process`, the globals
// of the language. These are the ones that were there when this file was loaded: in a worker that is before the code of the
// application. Other files of lib/ name what they use of it in a line at their top, and then it looks like the global:
//
//     const { JSON, Map, process } = require('./globals');
//
// Where a preload of the application has come first and has put something else in the place of a function of the language,
// the one of a new context is taken. Methods of prototypes are used as they are: Node itself does not work without most.

const { EventEmitter } = require('node:events');
const { performance } = require('node:perf_hooks');
const process = require('node:process');
const timers = require('node:timers');

/** @type {any} the global object of a context in which nobody has replaced anything */
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
 * The functions and constants of a global, without those which it inherits.
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
 * @param {string} name of a global
 * @param {string} key of a function of it
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
 * A conversion together with the functions that its global has.
 *
 * @param {string} name
 */
function conversion(name) {
  const convert = take(/** @type {any} */ (name));
  return takeStatic((/** @type {unknown} */ value) => convert(value), name);
}

/**
 * A collection whose methods stay what they are.
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
  // Nothing that is put on Object.prototype is found here.
  setPrototypeOf(Own.prototype, null);
  return Own;
}

/** A descriptor inherits nothing: a `get` that somebody has put on Object.prototype would make it invalid. */
function takeObject() {
  const own = statics('Object');
  const define = (/** @type {any} */ target, /** @type {any} */ key, /** @type {any} */ descriptor) =>
    defineProperty(target, key, { __proto__: null, ...descriptor });
  defineProperty(own, 'defineProperty', { __proto__: null, value: define });
  return own;
}

/** The functions of Buffer that are used. */
function takeBuffer() {
  const { Buffer } = require('node:buffer');
  const { alloc, byteLength, concat, from, isBuffer } = Buffer;
  return { alloc, byteLength, concat, from, isBuffer };
}

/**
 * A method of a class of Node's, for one object.
 *
 * @param {Function} method
 * @param {object} self
 * @returns {any}
 */
function bound(method, self) {
  return (/** @type {any[]} */ ...args) => apply(method, self, args);
}

const real = /** @type {any} */ (process);
const { exit, reallyExit } = real;
const emitter = /** @type {any} */ (EventEmitter.prototype);

/**
 * Ends this process, whatever the application has put in the place of the functions that do it.
 *
 * @param {number | string | null} [code]
 */
function exitProcess(code) {
  try {
    apply(exit, process, code === undefined ? [] : [code]);
  } catch (error) {
    // Of a listener for 'exit': Node ends the process with that. Otherwise it has not got so far.
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
 * `process`, with the functions that it had when this file was loaded. Everything else, also what is assigned to
 * `exitCode`, is that of `process` itself.
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
for (const name of [
  'emit',
  'listenerCount',
  'listeners',
  'on',
  'once',
  'prependListener',
  'removeListener',
]) {
  own[name] = bound(emitter[name], process);
}
own.exit = exitProcess;
if (typeof real._send === 'function') {
  // What Node's own send() and disconnect() do.
  own.send = (/** @type {any} */ message, /** @type {any} */ callback) =>
    process.connected && real._send(message, undefined, { swallowErrors: false }, callback);
  own.disconnect = () => {
    if (!process.connected) return;
    real.connected = false;
    // Messages with handles that wait are sent first; Node disconnects after the last one.
    if (!real._handleQueue) real._disconnect();
  };
}

const math = statics('Math');

module.exports = {
  setTimeout: timers.setTimeout,
  clearTimeout: timers.clearTimeout,
  setInterval: timers.setInterval,
  clearInterval: timers.clearInterval,
  setImmediate: timers.setImmediate,
  nextTick: /** @type {typeof process.nextTick} */ (own.nextTick),
  /** Milliseconds of the monotonic clock. */
  monotonic: bound(performance.now, performance),
  /** Milliseconds since 1970. */
  wallClock: untouchedIfForeign('Date', 'now').now,
  random: math.random,

  process: /** @type {NodeJS.Process} */ (own),
  /** The object itself, which has what the application has put there. */
  realProcess: process,
  /** The object of globals, which has what the application has put there. */
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
  // An application may have a reason to have another class for all errors, and ours are to be of that class.
  Error,
  RangeError,
  TypeError,
  decodeURIComponent,
};
