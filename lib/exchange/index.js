'use strict';

// cluster.request() and cluster.notify(). See index.d.ts.

const { JSON, LONGEST_DELAY, Map, Number, Object, Promise, clearTimeout, setTimeout } = require('../globals');
const { invalidType, noBackend, outOfRange } = require('../shared/errors');
const { members } = require('../shared/members');
const { checkName, checkScope } = require('../locks/check');
const { KIND, current, hold, link, onEnds, takers } = require('./connection');
const { STATUS, decodeThrown, isOfMachines, noAnswer, tooBusy, tooLarge } = require('./errors');
const { TO, checkTargetOf } = require('./target');
const { decode, encode } = require('./values');

/** @typedef {import('./connection').Frame} Frame */

/** @typedef {{ timeout?: number, signal?: AbortSignal, scope?: 'machine' | 'all' }} Options */

const NO_OPTIONS = Object.freeze({ timeout: undefined, signal: undefined, all: false });

/**
 * The answer of one process, with the id of its machine if that is another one. Without a worker, it is about machines that have
 * not answered.
 * @typedef {{ machine?: string, worker: number | undefined, status: string, value?: unknown, reason?: unknown }} Result
 */

/** @typedef {import('./target').Target} Target */

/**
 * @typedef {object} Pending
 * @property {string} name
 * @property {Target} to
 * @property {number | undefined} timeout
 * @property {Result[] | undefined} results the answers so far, for a request to all workers
 * @property {(value: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {(() => void) | undefined} unlimit ends the wait for a time limit or a signal
 */

/** @type {Map<number, Pending>} */
const requests = new Map();
let nextId = 1;

/**
 * @param {any} target
 * @param {string} name
 * @param {unknown} [data]
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
function request(target, name, data, options) {
  // Not an async function: its promise would be one more for each request.
  try {
    return begin(target, name, data, options);
  } catch (error) {
    return Promise.reject(error);
  }
}

/**
 * @param {any} target
 * @param {string} name
 * @param {unknown} data
 * @param {Options | undefined} options
 * @returns {Promise<any>}
 */
function begin(target, name, data, options) {
  const { timeout, signal, all } = checkOptions(options);
  const to = checkTargetOf(target, all);
  checkName(name);
  signal?.throwIfAborted();
  const value = encode(data);
  const native = link();
  if (all && !native.reachesAll()) throw noBackend();
  const id = nextId;
  nextId += 1;
  refuse(native.request(id, to.kind, to.number, to.leader, name, value), 'The request', name);
  return new Promise((resolve, reject) => {
    const results = to.kind === TO.ALL || to.kind === TO.EVERYWHERE ? [] : undefined;
    const unlimit = timeout === undefined && signal === undefined ? undefined : limit(id, timeout, signal);
    requests.set(id, { name, to, timeout, results, resolve, reject, unlimit });
    hold(1);
  });
}

/**
 * Ends a request at a time limit, or when the signal is aborted.
 * @param {number} id
 * @param {number | undefined} timeout ms
 * @param {AbortSignal | undefined} signal
 * @returns {() => void} a function that removes the limit
 */
function limit(id, timeout, signal) {
  const onAbort = () => {
    if (!requests.has(id)) return;
    current()?.cancel(id, false);
    settle(id, (pending) => pending.reject(signal?.reason));
  };
  const timer = timeout === undefined ? undefined : setTimeout(() => onTimeout(id), timeout);
  signal?.addEventListener('abort', onAbort, { once: true });
  return () => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  };
}

/**
 * @param {any} target
 * @param {string} name
 * @param {unknown} [data]
 * @param {{ scope?: 'machine' | 'all' }} [options]
 */
function notify(target, name, data, options) {
  const all = checkScope(members(options, ['scope']).scope);
  const to = checkTargetOf(target, all);
  checkName(name);
  const value = encode(data);
  const native = link();
  if (all && !native.reachesAll()) throw noBackend();
  refuse(native.notify(to.kind, to.number, to.leader, name, value), 'The message', name);
}

/**
 * @param {number} refused
 * @param {string} what
 * @param {string} name
 */
function refuse(refused, what, name) {
  if (refused === 1) throw tooBusy(`${what} ${JSON.stringify(name)} was not sent`);
  if (refused === 2) throw tooLarge(`${what} ${JSON.stringify(name)}`);
}

/** @param {unknown} options */
function checkOptions(options) {
  if (options === undefined) return NO_OPTIONS;
  const { timeout, signal, scope } = members(options, ['timeout', 'signal', 'scope']);
  const all = checkScope(scope);
  if (timeout !== undefined && typeof timeout !== 'number') {
    throw invalidType('options.timeout', 'number', timeout);
  }
  if (timeout !== undefined && timeout !== Infinity && !(timeout > 0 && timeout <= LONGEST_DELAY)) {
    throw outOfRange('options.timeout', `> 0 and <= ${LONGEST_DELAY} ms, or Infinity`, timeout);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidType('options.signal', 'AbortSignal', signal);
  }
  return { timeout: timeout === Infinity ? undefined : timeout, signal, all };
}

/**
 * @param {number} id
 * @param {(pending: Pending) => void} how
 */
function settle(id, how) {
  const pending = requests.get(id);
  if (pending === undefined) return;
  requests.delete(id);
  hold(-1);
  pending.unlimit?.();
  how(pending);
}

/** @param {number} id */
function onTimeout(id) {
  // A request to several workers gets outcomes for those that have not answered; for a single worker, the
  // call returns its id.
  const worker = current()?.cancel(id, true) ?? undefined;
  if (worker !== undefined) onOutcome({ number: id, rest: 0, flag: STATUS.CANCELLED, worker, name: '' });
}

/** @typedef {Pick<Frame, 'number' | 'rest' | 'flag' | 'worker' | 'name'> & Partial<Frame>} Outcome */

/** @param {Outcome} frame */
function onOutcome(frame) {
  const { number: id, rest, flag } = frame;
  const pending = requests.get(id);
  // The request was cancelled at the same time.
  if (pending === undefined) return;
  const { results } = pending;
  if (results === undefined || flag === STATUS.LIMIT) {
    const { ok, result } = read(frame, pending);
    return settle(id, ({ resolve, reject }) => (ok ? resolve(result) : reject(result)));
  }
  if (flag !== STATUS.NOBODY) results.push(resultOf(frame, pending));
  if (rest > 0) return;
  results.sort(compare);
  settle(id, ({ resolve }) => resolve(results));
}

/**
 * @param {Outcome} frame
 * @param {Pending} pending
 * @returns {Result}
 */
function resultOf(frame, pending) {
  const { ok, result } = read(frame, pending);
  const outcome = ok ? { status: 'fulfilled', value: result } : { status: 'rejected', reason: result };
  const { flag, worker, name } = frame;
  if (pending.to.kind !== TO.EVERYWHERE) return { worker, ...outcome };
  if (name !== '') return { machine: name, worker, ...outcome };
  return { machine: undefined, worker: isOfMachines(flag) ? undefined : worker, ...outcome };
}

/**
 * Sorts workers of this machine first, and results without a worker last.
 * @param {Result} one
 * @param {Result} other
 */
function compare(one, other) {
  if (one.worker === undefined || other.worker === undefined) {
    return Number(one.worker === undefined) - Number(other.worker === undefined);
  }
  const [machine = '', another = ''] = [one.machine, other.machine];
  if (machine !== another) return machine < another ? -1 : 1;
  return one.worker - other.worker;
}

/**
 * @param {Outcome} frame
 * @param {Pending} pending
 */
function read(frame, pending) {
  try {
    if (frame.flag === STATUS.VALUE) return { ok: true, result: decode(frame.value) };
    const result = frame.flag === STATUS.ERROR ? decodeThrown(frame.value) : noAnswer(frame, pending);
    return { ok: false, result };
  } catch (error) {
    // The other process has sent an invalid value.
    return { ok: false, result: error };
  }
}

onEnds.push((error) => {
  const all = [...requests.keys()];
  for (const id of all) settle(id, ({ reject }) => reject(error));
});
takers[KIND.OUTCOME] = onOutcome;

module.exports = { notify, request };
