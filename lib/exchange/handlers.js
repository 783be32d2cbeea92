'use strict';

// cluster.handle(): functions that other processes call by name.

const { JSON, Map, Object, Symbol } = require('../globals');
const { AsyncResource } = require('node:async_hooks');
const { isProxy } = require('node:util').types;
const { failure, invalidType } = require('../shared/errors');
const { members } = require('../shared/members');
const { InProgress } = require('../shared/retiring');
const { checkName } = require('../locks/check');
const { KIND, current, link, onEnds, takers } = require('./connection');
const { encodeThrown, tooBusy, tooLarge } = require('./errors');
const { warnOfLag } = require('./lag');
const { decode, encode } = require('./values');

/** @typedef {import('./connection').Frame} Frame */
/** @typedef {import('../../index').MessageHandler} Fn */
/** @typedef {{ fn: Fn, onLag: ((count: number) => void) | undefined, context: AsyncResource }} Handler */

/** @type {Map<string, Handler>} */
const handlers = new Map();

/** The second argument of a handler, whose signal is aborted when the caller no longer waits. */
class Call {
  /** @type {AbortController | undefined} created on first use */
  #controller;

  /**
   * @param {string} name
   * @param {number} worker
   * @param {boolean} elsewhere whether the caller is on another machine
   */
  constructor(name, worker, elsewhere) {
    this.name = name;
    this.worker = worker;
    this.elsewhere = elsewhere;
  }

  get signal() {
    return (this.#controller ??= new AbortController()).signal;
  }

  /** @param {Call} call */
  static cancel(call) {
    (call.#controller ??= new AbortController()).abort();
  }
}

const { cancel } = Call;
delete (/** @type {any} */ (Call).cancel);
Object.defineProperty(Call.prototype, 'signal', { enumerable: true });

/** Calls that have not been answered, by number. @type {Map<number, Call>} */
const calls = new Map();

/** Functions that run for calls. A worker that leaves gets no more calls, and answers those that it has. */
const running = new InProgress('Request', () => {
  for (const name of handlers.keys()) current()?.unhandle(name);
});

/**
 * @param {string} name
 * @param {Fn} fn
 * @param {{ onLag?: (count: number) => void }} [options]
 */
function handle(name, fn, options) {
  checkName(name);
  if (typeof fn !== 'function') throw invalidType('fn', 'function', fn);
  const { onLag } = members(options, ['onLag']);
  if (onLag !== undefined && typeof onLag !== 'function') {
    throw invalidType('options.onLag', 'function', onLag);
  }
  if (handlers.has(name)) {
    const message = `This process has a handler for ${JSON.stringify(name)} already`;
    throw failure('ERR_RCLUSTER_HANDLER_EXISTS', message);
  }
  const native = link();
  // In which the functions run.
  const context = new AsyncResource('RCLUSTERHANDLER');
  const handler = { fn, onLag, context };
  handlers.set(name, handler);
  native.handle(name);
  const stop = () => {
    if (handlers.get(name) !== handler) return;
    handlers.delete(name);
    current()?.unhandle(name);
  };
  return Object.freeze({ name, stop, [Symbol.dispose ?? Symbol.for('nodejs.dispose')]: stop });
}

/** @param {Frame} frame */
function onRequest({ flag, number, name, worker, value }) {
  const handler = handlers.get(name);
  if (handler === undefined) {
    // The handler was stopped while the request was on its way.
    const error = failure(
      'ERR_RCLUSTER_NO_HANDLER',
      `There is no handler for ${JSON.stringify(name)} any more`,
    );
    return reply(number, false, () => encodeThrown(error));
  }
  const call = new Call(name, worker, flag !== 0);
  calls.set(number, call);
  const { fn, context } = handler;
  let result;
  try {
    result = context.runInAsyncScope(fn, undefined, decode(value), call);
  } catch (error) {
    return reply(number, false, () => encodeThrown(error));
  }
  // A result that is not a promise is sent at once.
  if (!mayBePromise(result)) return reply(number, true, () => encode(result));
  const settled = async () => result;
  running.begin();
  void settled()
    .then(
      (settledTo) => reply(number, true, () => encode(settledTo)),
      (error) => reply(number, false, () => encodeThrown(error)),
    )
    .finally(() => running.end());
}

/** @param {unknown} value */
function mayBePromise(value) {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false;
  // The check calls no getter and no proxy trap.
  return isProxy(value) || 'then' in value;
}

/**
 * @param {number} number
 * @param {boolean} ok
 * @param {() => string | Buffer} encoded
 */
function reply(number, ok, encoded) {
  calls.delete(number);
  const native = current();
  if (native === undefined) return;
  let raw;
  try {
    raw = encoded();
  } catch (error) {
    [ok, raw] = [false, encodeThrown(error)];
  }
  const refused = native.reply(number, ok, raw);
  if (refused === 0) return;
  const error = refused === 1 ? tooBusy('The answer was not sent') : tooLarge('The answer');
  // An error as short as this is never refused.
  native.reply(number, false, encodeThrown(error));
}

/** @param {Frame} frame */
function onNotice({ flag, name, worker, value }) {
  const handler = handlers.get(name);
  if (handler === undefined) return;
  const { fn, context } = handler;
  const run = async () => fn(decode(value), new Call(name, worker, flag !== 0));
  // The sender does not wait, so a failure is an unhandled rejection.
  void context.runInAsyncScope(run);
}

/** @param {Frame} frame */
function onCancelled({ number }) {
  const call = calls.get(number);
  if (call === undefined) return;
  calls.delete(number);
  cancel(call);
}

/** @param {Frame} frame */
function onLag({ name, number }) {
  const handler = handlers.get(name);
  if (handler?.onLag) return handler.context.runInAsyncScope(handler.onLag, undefined, number);
  // An unknown number of messages may be lost: only reported to onLag().
  if (number === 0) return;
  warnOfLag(`the handler ${JSON.stringify(name)}`, number);
}

onEnds.push(() => {
  handlers.clear();
  for (const call of calls.values()) cancel(call);
  calls.clear();
});
takers[KIND.REQUEST] = onRequest;
takers[KIND.NOTICE] = onNotice;
takers[KIND.CANCELLED] = onCancelled;
takers[KIND.HANDLER_LAG] = onLag;

module.exports = { handle };
