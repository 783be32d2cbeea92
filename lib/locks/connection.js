'use strict';

// The hold of this process on the locks of its cluster: what it asks for, and what comes of that.

const { Error, JSON, Map, Object, Promise, Symbol, process } = require('../globals');
const { isMainThread } = require('node:worker_threads');
const builtin = require('../builtin');
const { loadBinding } = require('../load-binding');
const { failure, sharedError } = require('../shared/errors');

/** Under this the cluster object of a worker has what uses locks by its link, see ../worker/extras.js. */
const OPEN = Symbol.for('rcluster.locks');

/** What the same name may be used for, each time as another lock. */
const SPACE = { LOCK: 0, LEAD: 1, FLIGHT: 2 };

/** What happens if a lock is not free. */
const OTHERWISE = { WAIT: 0, GIVE_UP: 1, STEAL: 2 };

const NEWS = { GRANTED: 1, UNAVAILABLE: 2, STOLEN: 3, SETTLED: 4, TOO_MANY: 5, LISTED: 6, END: 7 };

/** How many locks this process may hold and wait for. The native side has the same limit. */
const MAX_REQUESTS = 10_000;

/**
 * @typedef {object} Want
 * @property {number} space
 * @property {string} name
 * @property {boolean} [shared]
 * @property {number} [otherwise]
 * @property {AbortSignal} [signal] ends the wait
 */

/** A lock that this process holds, or the outcome of what it waited for. */
class Grant {
  /** @type {number} */
  #id;

  /** Why it has ended, if this process has not released it. @type {Error | undefined} */
  lost;

  /** @type {((error: Error) => void) | undefined} called when it is lost */
  onLost;

  held = true;

  /**
   * @param {number} id
   * @param {number} token
   */
  constructor(id, token) {
    this.#id = id;
    this.token = token;
  }

  release() {
    this.#end((native) => native.end(this.#id));
  }

  /**
   * Releases a flight, and tells all that wait for it how it went.
   * @param {string} outcome
   */
  settle(outcome) {
    this.#end((native) => native.settle(this.#id, outcome));
  }

  /** @param {(native: import('../../binding').LockLink) => void} how */
  #end(how) {
    if (!this.held) return;
    this.held = false;
    requests.delete(this.#id);
    if (native !== undefined) how(native);
  }

  /** @param {Error} error */
  lose(error) {
    if (!this.held) return;
    this.held = false;
    this.lost = error;
    this.onLost?.(error);
  }
}

/**
 * A request that waits, or is held.
 * @typedef {object} Request
 * @property {Grant | undefined} grant
 * @property {(result: Grant | string | undefined) => void} resolve a string is how what it waited for went
 * @property {(error: Error) => void} reject
 */

/** @type {import('../../binding').LockLink | undefined} */
let native;
let nextId = 1;
/** How many wait and keep the process alive. */
let waiting = 0;
/** Why there are no locks for this process any more. @type {Error | undefined} */
let ended;

/** @type {Map<number, Request>} */
const requests = new Map();

/**
 * Queries are answered one by one.
 * @type {{ resolve: (listed: any[]) => void, reject: (error: Error) => void, listed: any[] }[]}
 */
const queries = [];

function connect() {
  if (ended !== undefined) throw ended;
  if (native !== undefined) return native;
  try {
    native = opener()(onNews);
  } catch (error) {
    throw sharedError(/** @type {Error} */ (error));
  }
  // What a worker holds ends when it has been drained, whatever it still does.
  builtin.worker?.once('disconnect', () => {
    for (const id of requests.keys()) native?.end(id);
    end(failure('ERR_RCLUSTER_GONE', 'This worker has left its cluster, and holds no locks any more'));
  });
  return native;
}

/** @returns {typeof import('../../binding').openLocks} */
function opener() {
  if (!isMainThread) {
    throw new Error('ERR_RCLUSTER_SHARED Locks are for the main thread of a process');
  }
  if (!builtin.isWorker) return loadBinding().openLocks;
  const open = /** @type {any} */ (builtin)[OPEN];
  if (open === undefined) throw new Error('ERR_RCLUSTER_SHARED This worker was not started by rcluster');
  if (!(/** @type {any} */ (builtin.worker).isConnected())) {
    throw new Error('ERR_RCLUSTER_GONE This worker has left its cluster');
  }
  return open;
}

/**
 * @param {Want} want
 * @returns {Promise<Grant | string | undefined>} nothing if it gives up; a string if another has settled what it waits for
 */
function acquire({ space, name, shared = false, otherwise = OTHERWISE.WAIT, signal }) {
  return new Promise((resolve, reject) => {
    const link = connect();
    if (requests.size >= MAX_REQUESTS) throw tooMany();
    const id = nextId;
    nextId += 1;
    const onAbort = () => {
      if (!forget(id)) return;
      link.end(id);
      reject(signal?.reason);
    };
    const done = () => signal?.removeEventListener('abort', onAbort);
    const settled = (/** @type {(value: any) => void} */ then) => (/** @type {any} */ value) => {
      done();
      then(value);
    };
    link.request(id, space, name, shared, otherwise);
    requests.set(id, { grant: undefined, resolve: settled(resolve), reject: settled(reject) });
    hold(1);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * What is held and pending, as the native side says it.
 * @returns {Promise<any[]>}
 */
function list() {
  return new Promise((resolve, reject) => {
    const link = connect();
    queries.push({ resolve, reject, listed: [] });
    hold(1);
    if (queries.length === 1) link.query(0);
  });
}

/** @param {number} change */
function hold(change) {
  waiting += change;
  if (waiting === 0 || (waiting === 1 && change > 0)) native?.hold(waiting > 0);
}

/**
 * A request no longer waits.
 * @param {number} id
 * @returns {boolean} false if it did not
 */
function forget(id) {
  const request = requests.get(id);
  if (request === undefined || request.grant !== undefined) return false;
  requests.delete(id);
  hold(-1);
  return true;
}

function onNews() {
  for (;;) {
    const news = native?.take();
    // `null` is what there is nothing for.
    if (!news) return;
    const { kind, id, number, text } = news;
    if (kind === NEWS.END) return onEnd();
    if (kind === NEWS.LISTED) onListed(number, text);
    else onRequest(kind, id, number, text);
  }
}

/**
 * @param {number} kind
 * @param {number} id
 * @param {number} token
 * @param {string} text
 */
function onRequest(kind, id, token, text) {
  const request = requests.get(id);
  // It has been ended by this process at the same time.
  if (request === undefined) return;
  if (kind === NEWS.STOLEN) {
    requests.delete(id);
    request.grant?.lose(stolen());
    return;
  }
  if (kind === NEWS.GRANTED) {
    request.grant = new Grant(id, token);
    hold(-1);
    request.resolve(request.grant);
    return;
  }
  forget(id);
  if (kind === NEWS.TOO_MANY) request.reject(tooMany());
  else request.resolve(kind === NEWS.SETTLED ? text : undefined);
}

/**
 * @param {number} rest how many parts follow
 * @param {string} text
 */
function onListed(rest, text) {
  const [query] = queries;
  query.listed.push(...JSON.parse(text));
  if (rest > 0) return;
  queries.shift();
  hold(-1);
  query.resolve(query.listed);
  if (queries.length > 0) native?.query(0);
}

/** The primary is gone, or has cut this process off. */
function onEnd() {
  native?.stop();
  if (ended !== undefined) return;
  end(failure('ERR_RCLUSTER_GONE', 'The primary of this process is gone, and with it the locks'));
  if (!builtin.isWorker) {
    throw failure('ERR_RCLUSTER_FAILED', 'The native part has failed: locks can no longer be asked for');
  }
  // A worker that has lost its primary as well is about to end.
  if (process.connected) {
    process.emitWarning('This worker has lost its locks, and gets no others', { code: 'RCLUSTER_SHARED' });
  }
}

/** @param {Error} error */
function end(error) {
  ended = error;
  const all = [...requests.values()];
  requests.clear();
  waiting = 0;
  native?.hold(false);
  for (const { grant, reject } of all) {
    if (grant === undefined) reject(error);
    else grant.lose(error);
  }
  for (const { reject } of queries.splice(0)) reject(error);
}

function stolen() {
  return domException('ERR_RCLUSTER_LOCK_STOLEN', 'AbortError', 'The lock was stolen by another request');
}

function tooMany() {
  const message = `A process holds and waits for ${MAX_REQUESTS} locks at the most`;
  return failure('ERR_RCLUSTER_LOCK_LIMIT', message);
}

/**
 * An error as Web Locks have it, with a code as all others have.
 * @param {string} code
 * @param {string} name
 * @param {string} message
 */
function domException(code, name, message) {
  const error = new DOMException(message, name);
  Object.defineProperty(error, 'code', { value: code, enumerable: true, configurable: true });
  return error;
}

module.exports = { Grant, OTHERWISE, SPACE, acquire, domException, list };
