'use strict';

// getOrCreate(): a value that is created once in the whole cluster, however many processes request it. See
// types/shared.d.ts.
//
// The process that creates the value holds a lock named after the store and the key; other processes that
// request it wait for that lock. The holder settles the lock with the outcome, which ends all waits. If it
// dies instead, the lock, and with it the task, passes to the next waiter.

const { createHash } = require('node:crypto');
const { Buffer, JSON, Map, Number, Promise, process, wallClock } = require('../globals');
const { described, invalidType, invalidValue, outOfRange, rebuilt } = require('./errors');
const { members } = require('./members');
const { checkKey, lifetime } = require('./options');
const { MAX_KEY, longKey } = require('./steps');
const { decode, encode } = require('./values');
const { describe } = require('../text');
const { OTHERWISE, SPACE, acquire } = require('../locks/connection');
const { deadlock, heldHere, runHolding } = require('../locks/context');

/** The largest outcome in bytes; a longer one is read from the store. The native side takes twice as much. */
const MAX_OUTCOME = 4096;

/**
 * The store of failures. Its name begins with a null byte, so that no application uses it.
 * @type {Store | undefined}
 */
let failures;

/**
 * @typedef {InstanceType<typeof import('./store').SharedStore>} Store
 * @typedef {(facts: { signal: AbortSignal }) => unknown} Loader
 * @typedef {{ revision: number, expiresAt?: number | undefined }} Entry
 * @typedef {InstanceType<typeof import('../locks/connection').Grant>} Grant
 *
 * @typedef {object} Plan
 * @property {Store} store
 * @property {string} key
 * @property {string} id the name of the lock
 * @property {Loader} loader
 * @property {number} ttl in ms; -1 for no expiry
 * @property {number} negativeTtl in ms; 0 if failures are not remembered
 * @property {number} grace in ms
 * @property {AbortSignal | undefined} signal ends the wait of the caller
 *
 * How a flight ended: with a value, with an error, or undefined if the value must be read from the store.
 * @typedef {{ value: any } | { error: any } | undefined} Outcome
 */

/**
 * A value that this process creates or waits for. Several callers can wait for it.
 * @typedef {object} Flight
 * @property {Promise<Outcome>} outcome
 * @property {number} callers those that still wait for the outcome
 * @property {AbortController | undefined} waiting ends the wait for the lock; undefined once that is over
 */

/** By lock name. @type {Map<string, Flight>} */
const flights = new Map();

/**
 * @param {Store} store
 * @param {string} name of the store
 * @param {string} key
 * @param {Loader} loader
 * @param {unknown} options
 */
async function getOrCreate(store, name, key, loader, options) {
  const plan = checked(store, name, key, loader, options);
  plan.signal?.throwIfAborted();
  const found = store.entry(key);
  if (found !== undefined) {
    if (isStale(found, plan.grace)) refresh(plan);
    return found.value;
  }
  if (heldHere(SPACE.FLIGHT, plan.id) !== undefined) throw deadlock(`The value of ${JSON.stringify(key)}`);
  for (;;) {
    const outcome = await join(plan);
    if (outcome !== undefined && 'error' in outcome) throw outcome.error;
    // A copy, so that callers do not see each other's changes.
    if (outcome !== undefined) return copyOf(outcome.value);
    const entry = store.entry(key);
    if (entry !== undefined) return entry.value;
    plan.signal?.throwIfAborted();
  }
}

/**
 * @param {Store} store
 * @param {string} name
 * @param {string} key
 * @param {Loader} loader
 * @param {unknown} options
 * @returns {Plan}
 */
function checked(store, name, key, loader, options) {
  checkKey(key);
  if (Buffer.byteLength(key) > MAX_KEY) {
    throw longKey(key);
  }
  if (typeof loader !== 'function') throw invalidType('loader', 'function', loader);
  const { ttl, negativeTtl, grace, signal } = members(options, ['ttl', 'negativeTtl', 'grace', 'signal']);
  const life = lifetime(ttl);
  if (grace !== undefined && life === -1) {
    throw invalidValue('options.grace', 'is for values that have a ttl', grace);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidType('options.signal', 'AbortSignal', signal);
  }
  return {
    store,
    key,
    // Names and keys can contain any character.
    id: `${name.length}:${name}${key}`,
    loader,
    ttl: life,
    negativeTtl: duration('negativeTtl', negativeTtl),
    grace: duration('grace', grace),
    signal,
  };
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function duration(name, value) {
  if (value === undefined) return 0;
  if (typeof value !== 'number') throw invalidType(`options.${name}`, 'number', value);
  const isValid = value >= 0 && value <= Number.MAX_SAFE_INTEGER;
  if (!isValid) throw outOfRange(`options.${name}`, '>= 0 ms', value);
  return value;
}

/**
 * @param {{ expiresAt?: number | undefined }} entry
 * @param {number} grace
 */
function isStale({ expiresAt }, grace) {
  return grace > 0 && expiresAt !== undefined && expiresAt - wallClock() <= grace;
}

/**
 * Creates the value, or waits for it. A process has at most one flight for a value.
 * @param {Plan} plan
 * @returns {Promise<Outcome>}
 */
function join(plan) {
  const flight = flights.get(plan.id) ?? begin(plan, OTHERWISE.WAIT);
  flight.callers += 1;
  const { signal } = plan;
  if (signal === undefined) return flight.outcome;
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      flight.callers -= 1;
      if (flight.callers === 0) abandon(plan, flight);
      reject(signal.reason);
    };
    const settled = (/** @type {(value: any) => void} */ then) => (/** @type {any} */ value) => {
      signal.removeEventListener('abort', onAbort);
      then(value);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    void flight.outcome.then(settled(resolve), settled(reject));
  });
}

/**
 * @param {Plan} plan
 * @param {number} otherwise
 * @returns {Flight}
 */
function begin(plan, otherwise) {
  /** @type {Flight} */
  const flight = { callers: 0, waiting: new AbortController(), outcome: Promise.resolve(undefined) };
  flights.set(plan.id, flight);
  flight.outcome = fly(plan, otherwise, flight).finally(() => {
    if (flights.get(plan.id) === flight) flights.delete(plan.id);
  });
  return flight;
}

/**
 * No caller waits any more. A loader that has begun goes on, because other processes may wait for its value.
 * @param {Plan} plan
 * @param {Flight} flight
 */
function abandon(plan, flight) {
  if (flight.waiting === undefined) return;
  // At once, so that the next caller does not join it.
  flights.delete(plan.id);
  flight.waiting.abort();
}

let hasWarned = false;

/**
 * Creates the value again while the old one is still in use, unless another caller or process is doing so.
 * @param {Plan} plan
 */
function refresh(plan) {
  if (flights.has(plan.id)) return;
  const flight = begin(plan, OTHERWISE.GIVE_UP);
  // Nobody waits for it, and it is not abandoned.
  flight.callers += 1;
  const tell = (/** @type {unknown} */ error) => {
    // This process leaves the cluster, and retries nothing: others do.
    if (/** @type {any} */ (error)?.code === 'ERR_RCLUSTER_GONE' || hasWarned) return;
    hasWarned = true;
    const message = `A stale value could not be computed again, and is retried: ${describe(error)}`;
    process.emitWarning(message, { code: 'RCLUSTER_SHARED_REFRESH' });
  };
  void flight.outcome.then((outcome) => {
    if (outcome !== undefined && 'error' in outcome) tell(outcome.error);
  }, tell);
}

/**
 * @param {Plan} plan
 * @param {number} otherwise
 * @param {Flight} flight
 * @returns {Promise<Outcome>}
 */
async function fly(plan, otherwise, flight) {
  const known = recall(plan);
  if (known !== undefined) return known;
  const signal = flight.waiting?.signal;
  const grant = await acquire({ space: SPACE.FLIGHT, name: plan.id, otherwise, signal });
  flight.waiting = undefined;
  if (grant === undefined) return undefined;
  if (typeof grant === 'string') return read(grant);
  // Another process may have created it, or failed, between the check of the store and the grant of the lock.
  const entry = plan.store.entry(plan.key);
  const isThere = entry !== undefined && !isStale(entry, plan.grace);
  const failed = isThere ? undefined : recall(plan);
  if (!isThere && failed === undefined) return make(plan, grant, entry);
  grant.settle(write(failed));
  return failed;
}

/**
 * @param {Plan} plan
 * @param {Grant} grant
 * @param {Entry | undefined} before the stale value
 * @returns {Promise<Outcome>}
 */
async function make(plan, grant, before) {
  const { loader, negativeTtl } = plan;
  const controller = new AbortController();
  grant.onLost = (/** @type {Error} */ error) => controller.abort(error);
  if (grant.lost !== undefined) controller.abort(grant.lost);
  const held = { space: SPACE.FLIGHT, name: plan.id, shared: false, grant };
  /** @type {Outcome} */
  let outcome;
  try {
    // A copy, because the loader may keep what it returns and change it.
    const loaded = copyOf(await runHolding(held, async () => loader({ signal: controller.signal })));
    // If the lock was lost, another process is creating the value by now.
    controller.signal.throwIfAborted();
    const value = await keep(plan, before, loaded);
    if (negativeTtl > 0) await forget(plan);
    outcome = { value };
  } catch (error) {
    outcome = { error };
    if (negativeTtl > 0 && !controller.signal.aborted) await remember(plan, error);
  } finally {
    // Always settled, so that no process waits forever.
    grant.settle(write(outcome));
  }
  return outcome;
}

/** How much earlier than by our clock a value may expire, in ms: the store counts whole ms of its own clock. */
const ROUNDING = 10;

/**
 * Stores what was loaded, unless the key has been written or deleted meanwhile: that is newer.
 * @param {Plan} plan
 * @param {Entry | undefined} before
 * @param {unknown} value
 * @returns {Promise<unknown>} the value for the callers
 */
async function keep({ store, key, ttl, grace }, before, value) {
  const life = ttl === -1 ? undefined : ttl + grace;
  for (let ifRevision = before?.revision ?? 0; ; ifRevision = 0) {
    const { ok } = await store.set(key, value, { ttl: life, ifRevision });
    if (ok) return value;
    const newer = await store.read(key);
    if (newer !== undefined) return newer;
    // The stale value has been deleted, unless its time was over.
    const hasExpired = ifRevision > 0 && (before?.expiresAt ?? Infinity) <= wallClock() + ROUNDING;
    if (!hasExpired) return value;
  }
}

/**
 * The outcome in the form in which it is sent to the waiting processes.
 * @param {Outcome} outcome
 * @returns {string}
 */
function write(outcome) {
  if (outcome === undefined) return '';
  if ('error' in outcome) return JSON.stringify({ error: described(outcome.error) });
  const { value } = outcome;
  const isText = typeof value === 'string' || (typeof value === 'object' && value !== null);
  if (!isText || Buffer.isBuffer(value)) return '';
  // Values that JSON would not reproduce, and long ones, are read from the store.
  const [kind, raw] = encode(value);
  if (typeof raw !== 'string') return '';
  const text = JSON.stringify({ kind, raw });
  return Buffer.byteLength(text) > MAX_OUTCOME ? '' : text;
}

/**
 * @param {string} text
 * @returns {Outcome}
 */
function read(text) {
  if (text === '') return undefined;
  const { error, kind, raw } = JSON.parse(text);
  return error === undefined ? { value: decode(kind, raw) } : { error: rebuilt(error) };
}

/** @param {unknown} value */
function copyOf(value) {
  if (typeof value !== 'object' || value === null) return value;
  const [kind, raw] = encode(value);
  return Buffer.isBuffer(value) ? Buffer.from(value) : decode(kind, raw);
}

/** @param {Plan} plan */
function keyOfFailure({ id }) {
  return createHash('sha256').update(id).digest('base64');
}

/** @returns {Store} */
function storeOfFailures() {
  failures ??= require('./index').shared('\0failures', { size: '4MB', eviction: 'lru' });
  return /** @type {Store} */ (failures);
}

/**
 * @param {Plan} plan
 * @returns {Outcome} a remembered failure, which is reported instead of another attempt
 */
function recall(plan) {
  if (plan.negativeTtl === 0) return undefined;
  const error = storeOfFailures().get(keyOfFailure(plan));
  return error === undefined ? undefined : { error: rebuilt(error) };
}

/**
 * @param {Plan} plan
 * @param {unknown} error
 */
async function remember(plan, error) {
  const { name, message, code } = described(error);
  const value = JSON.parse(JSON.stringify({ name, message, code }));
  await storeOfFailures().set(keyOfFailure(plan), value, { ttl: plan.negativeTtl });
}

/** @param {Plan} plan */
async function forget(plan) {
  const key = keyOfFailure(plan);
  if (storeOfFailures().has(key)) await storeOfFailures().delete(key);
}

module.exports = { getOrCreate };
