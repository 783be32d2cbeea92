'use strict';

// The link of this process to the locks of its cluster: requests and their results.

const { JSON, Map, Object, Promise, clearTimeout, setTimeout } = require('../globals');
const builtin = require('../builtin');
const { failure, noBackend, sharedError } = require('../shared/errors');
const { warnOfLoss } = require('../shared/lost');
const { checkMembership, onLeave, openerOf } = require('../shared/opener');

/** The separate name spaces of locks. */
const SPACE = { LOCK: 0, LEAD: 1, FLIGHT: 2, LEASED_LOCK: 3, LEASED_LEAD: 4 };

/** What happens if a lock is not free. */
const OTHERWISE = { WAIT: 0, GIVE_UP: 1, STEAL: 2 };

const NEWS = {
  GRANTED: 1,
  UNAVAILABLE: 2,
  STOLEN: 3,
  SETTLED: 4,
  TOO_MANY: 5,
  LISTED: 6,
  END: 7,
  LOST: 8,
  DISCONNECTED: 9,
  NO_BACKEND: 10,
};

/** The most locks that this process may hold and wait for. The native side has the same limit. */
const MAX_REQUESTS = 10_000;

/**
 * @typedef {object} Want
 * @property {number} space
 * @property {string} name
 * @property {boolean} [shared]
 * @property {number} [ttl] in ms, for a lock of all machines
 * @property {number} [otherwise]
 * @property {AbortSignal} [signal] aborts the wait
 * @property {boolean} [isBackground] whether the wait does not keep the process alive
 */

/** A lock that has been granted to this process. */
class Grant {
  /** @type {number} */
  #id;

  /** Why it was lost, if this process has not released it. @type {Error | undefined} */
  lost;

  /** @type {((error: Error) => void) | undefined} called when it is lost */
  onLost;

  /** @type {(() => void) | undefined} called when this worker leaves its cluster; without, the lock is lost then */
  onLeave;

  held = true;

  /** Of a lock of all machines, at the end of its lease. @type {NodeJS.Timeout | undefined} */
  #timer;

  /**
   * @param {number} id
   * @param {number} token
   * @param {boolean} isLeased whether it is a lock of all machines
   */
  constructor(id, token, isLeased) {
    this.#id = id;
    this.token = token;
    if (isLeased) this.#expire();
  }

  release() {
    if (this.#end()) native?.end(this.#id);
  }

  /**
   * Releases a flight, and sends its outcome to all that wait for it.
   * @param {string} outcome
   */
  settle(outcome) {
    if (this.#end()) native?.settle(this.#id, outcome);
  }

  /** @param {Error} error */
  lose(error) {
    if (!this.#end()) return;
    this.lost = error;
    this.onLost?.(error);
  }

  /** @returns {boolean} false if it has already ended */
  #end() {
    if (!this.held) return false;
    this.held = false;
    clearTimeout(this.#timer);
    requests.delete(this.#id);
    return true;
  }

  /** Loses the lock when its lease ends. The primary reports that as well, unless it is stopped. */
  #expire() {
    if (native === undefined) return;
    const left = native.left(this.#id);
    if (left > 0) {
      this.#timer = setTimeout(() => this.#expire(), left).unref();
      return;
    }
    native.end(this.#id);
    this.lose(leaseLost());
  }
}

/**
 * A request that waits or has been granted.
 * @typedef {object} Request
 * @property {Grant | undefined} grant
 * @property {(result: Grant | string | undefined) => void} resolve a string is the outcome of the flight it waited for
 * @property {(error: Error) => void} reject
 * @property {boolean} isLeased whether it is for a lock of all machines
 * @property {boolean} isBackground
 */

/** @type {import('../../binding').LockLink | undefined} */
let native;
let nextId = 1;
/** The number of waiting requests that keep the process alive. */
let waiting = 0;
/** Why this process can get no more locks. @type {Error | undefined} */
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
  const open = openerOf('openLocks', 'rcluster.locks', 'Locks are for the main thread of a process');
  checkMembership();
  try {
    native = open(onNews);
  } catch (error) {
    throw sharedError(/** @type {Error} */ (error));
  }
  onLeave(leave);
  return native;
}

/**
 * This worker has left its cluster. It gets no more locks, and keeps those that it holds until their callbacks end: otherwise the
 * next holders would run at the same time.
 */
function leave() {
  if (ended !== undefined) return;
  ended = failure('ERR_RCLUSTER_GONE', 'This worker has left its cluster, and gets no locks any more');
  for (const [id, { grant, reject }] of requests) {
    if (grant?.onLeave !== undefined) {
      grant.onLeave();
    } else {
      requests.delete(id);
      native?.end(id);
      if (grant === undefined) reject(ended);
      else grant.lose(ended);
    }
  }
  rejectQueries(ended);
}

/**
 * @param {Want} want
 * @returns {Promise<Grant | string | undefined>} undefined if the lock is not free and it gives up; a string if the holder has settled the flight
 */
function acquire(want) {
  const { space, name, shared = false, ttl, otherwise = OTHERWISE.WAIT, signal, isBackground = false } = want;
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
    if (ttl === undefined) link.request(id, space, name, shared, otherwise);
    else link.lease(id, space, name, ttl, otherwise);
    const isLeased = ttl !== undefined;
    const waiter = { resolve: settled(resolve), reject: settled(reject) };
    requests.set(id, { grant: undefined, isLeased, isBackground, ...waiter });
    if (!isBackground) hold(1);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/**
 * Lists the held and pending locks, in the form of the native side.
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
 * Removes a request that waits.
 * @param {number} id
 * @returns {boolean} false if it was not waiting
 */
function forget(id) {
  const request = requests.get(id);
  if (request === undefined || request.grant !== undefined) return false;
  requests.delete(id);
  if (!request.isBackground) hold(-1);
  return true;
}

function onNews() {
  for (;;) {
    const news = native?.take();
    // `null` means that there is no more news.
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
  // This process has ended the request at the same time.
  if (request === undefined) return;
  if (kind === NEWS.STOLEN) return request.grant?.lose(stolen());
  if (kind === NEWS.LOST) return request.grant?.lose(leaseLost());
  if (kind === NEWS.GRANTED) {
    request.grant = new Grant(id, token, request.isLeased);
    if (!request.isBackground) hold(-1);
    request.resolve(request.grant);
    return;
  }
  forget(id);
  if (kind === NEWS.TOO_MANY) request.reject(tooMany());
  else if (kind === NEWS.DISCONNECTED) request.reject(disconnected(text));
  else if (kind === NEWS.NO_BACKEND) request.reject(noBackend());
  else request.resolve(kind === NEWS.SETTLED ? text : undefined);
}

/**
 * @param {number} rest the number of parts that follow
 * @param {string} text
 */
function onListed(rest, text) {
  const [query] = queries;
  // This process has left its cluster in the meantime, which has rejected the query.
  if (query === undefined) return;
  query.listed.push(...JSON.parse(text));
  if (rest > 0) return;
  queries.shift();
  hold(-1);
  query.resolve(query.listed);
  if (queries.length > 0) native?.query(0);
}

/** The primary is gone, or has cut off this process. */
function onEnd() {
  native?.stop();
  const hasLeft = ended !== undefined;
  end(failure('ERR_RCLUSTER_GONE', 'The primary of this process is gone, and with it the locks'));
  if (hasLeft) return;
  if (!builtin.isWorker) {
    throw failure('ERR_RCLUSTER_FAILED', 'The native part has failed: locks can no longer be asked for');
  }
  warnOfLoss('This worker has lost its locks, and gets no others');
}

/** @param {Error} error */
function end(error) {
  ended = error;
  const all = [...requests.values()];
  requests.clear();
  for (const { grant, reject } of all) {
    if (grant === undefined) reject(error);
    else grant.lose(error);
  }
  rejectQueries(error);
}

/** Nothing is waited for any more. @param {Error} error */
function rejectQueries(error) {
  waiting = 0;
  native?.hold(false);
  for (const { reject } of queries.splice(0)) reject(error);
}

function stolen() {
  return domException('ERR_RCLUSTER_LOCK_STOLEN', 'AbortError', 'The lock was stolen by another request');
}

function leaseLost() {
  const message =
    'The lease of the lock is lost: the server could not be asked in time, or has given it to another machine';
  return failure('ERR_RCLUSTER_LOCK_LOST', message);
}

/** @param {string} why */
function disconnected(why) {
  return failure('ERR_RCLUSTER_DISCONNECTED', `The server that grants leases cannot be asked: ${why}`);
}

function tooMany() {
  const message = `A process holds and waits for ${MAX_REQUESTS} locks at the most`;
  return failure('ERR_RCLUSTER_LOCK_LIMIT', message);
}

/**
 * An error of the Web Locks interface, with a `code` like all our errors.
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
