'use strict';

// getOrCreate(): a value that is made once in the whole cluster, however many processes want it. See index.d.ts.
//
// Who makes it holds a lock that is named after the store and the key; who wants it as well waits for that lock. The holder
// ends the wait of all by saying how it went. If it dies instead, the lock and with it the task go to the next one.

const { createHash } = require('node:crypto');
const { Buffer, Error, JSON, Map, Number, Object, process, wallClock } = require('../globals');
const { inspect } = require('node:util');
const { failure, invalidType, invalidValue, outOfRange } = require('./errors');
const { checkKey, lifetime, members } = require('./options');
const { decode, encode } = require('./values');
const { OTHERWISE, SPACE, acquire } = require('../locks/connection');
const { deadlock, heldHere, runHolding } = require('../locks/context');

/** A longer outcome is read from the store, in bytes. The native side takes twice as much. */
const MAX_OUTCOME = 4096;

/** The longest key, in bytes. */
const MAX_KEY = 1024;

/** How much of the message of an error others are told. */
const MAX_MESSAGE = 500;

/**
 * The store of failures: its name begins like none of an application.
 * @type {Store | undefined}
 */
let failures;

/**
 * @typedef {InstanceType<typeof import('./store').SharedStore>} Store
 * @typedef {(facts: { signal: AbortSignal }) => unknown} Loader
 * @typedef {InstanceType<typeof import('../locks/connection').Grant>} Grant
 *
 * @typedef {object} Plan
 * @property {Store} store
 * @property {string} key
 * @property {string} id what the lock is called
 * @property {Loader} loader
 * @property {number} ttl in ms; -1 for ever
 * @property {number} negativeTtl in ms; 0 for not at all
 * @property {number} grace in ms
 *
 * How a flight ended: with a value, with an error, or with something to be looked up.
 * @typedef {{ value: any } | { error: any } | undefined} Outcome
 */

/** What this process makes or waits for, by the names of the locks. @type {Map<string, Promise<Outcome>>} */
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
  const found = store.entry(key);
  if (found !== undefined) {
    if (isStale(found, plan.grace)) refresh(plan);
    return found.value;
  }
  if (heldHere(SPACE.FLIGHT, plan.id) !== undefined) throw deadlock(`The value of ${JSON.stringify(key)}`);
  for (;;) {
    const outcome = await join(plan);
    if (outcome !== undefined && 'error' in outcome) throw outcome.error;
    // Nobody sees what somebody else does to his.
    if (outcome !== undefined) return copyOf(outcome.value);
    const entry = store.entry(key);
    if (entry !== undefined) return entry.value;
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
    throw failure('ERR_RCLUSTER_TOO_LARGE', `A key has ${MAX_KEY} bytes at the most`);
  }
  if (typeof loader !== 'function') throw invalidType('loader', 'function', loader);
  const { ttl, negativeTtl, grace } = members(options, ['ttl', 'negativeTtl', 'grace']);
  const life = lifetime(ttl);
  if (grace !== undefined && life === -1) {
    throw invalidValue('options.grace', 'is for values that have a ttl', grace);
  }
  return {
    store,
    key,
    id: `${name}\0${key}`,
    loader,
    ttl: life,
    negativeTtl: duration('negativeTtl', negativeTtl),
    grace: duration('grace', grace),
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
 * Makes the value, or waits for it. There is one wait in each process.
 * @param {Plan} plan
 * @returns {Promise<Outcome>}
 */
function join(plan) {
  let flight = flights.get(plan.id);
  if (flight === undefined) {
    flight = fly(plan, OTHERWISE.WAIT).finally(() => flights.delete(plan.id));
    flights.set(plan.id, flight);
  }
  return flight;
}

let hasWarned = false;

/**
 * Makes a value anew while the old one is in use, unless somebody does already.
 * @param {Plan} plan
 */
function refresh(plan) {
  if (flights.has(plan.id)) return;
  const flight = fly(plan, OTHERWISE.GIVE_UP).finally(() => flights.delete(plan.id));
  flights.set(plan.id, flight);
  const tell = (/** @type {unknown} */ error) => {
    if (hasWarned) return;
    hasWarned = true;
    const message = `A value is stale and could not be made anew, which is tried again: ${inspect(error)}`;
    process.emitWarning(message, { code: 'RCLUSTER_SHARED_REFRESH' });
  };
  void flight.then((outcome) => {
    if (outcome !== undefined && 'error' in outcome) tell(outcome.error);
  }, tell);
}

/**
 * @param {Plan} plan
 * @param {number} otherwise
 * @returns {Promise<Outcome>}
 */
async function fly(plan, otherwise) {
  const known = recall(plan);
  if (known !== undefined) return known;
  const grant = await acquire({ space: SPACE.FLIGHT, name: plan.id, otherwise });
  if (grant === undefined) return undefined;
  if (typeof grant === 'string') return read(grant);
  // Somebody may have made it, or failed to, between the look into the store and the lock.
  const entry = plan.store.entry(plan.key);
  const isThere = entry !== undefined && !isStale(entry, plan.grace);
  const failed = isThere ? undefined : recall(plan);
  if (!isThere && failed === undefined) return make(plan, grant);
  grant.settle(write(failed));
  return failed;
}

/**
 * @param {Plan} plan
 * @param {Grant} grant
 * @returns {Promise<Outcome>}
 */
async function make(plan, grant) {
  const { store, key, loader, ttl, grace, negativeTtl } = plan;
  const controller = new AbortController();
  grant.onLost = (/** @type {Error} */ error) => controller.abort(error);
  if (grant.lost !== undefined) controller.abort(grant.lost);
  const held = { space: SPACE.FLIGHT, name: plan.id, shared: false, grant };
  /** @type {Outcome} */
  let outcome;
  try {
    const value = await runHolding(held, async () => loader({ signal: controller.signal }));
    // Another one makes it by now.
    controller.signal.throwIfAborted();
    await store.set(key, value, { ttl: ttl === -1 ? undefined : ttl + grace });
    if (negativeTtl > 0) await forget(plan);
    outcome = { value };
  } catch (error) {
    outcome = { error };
    if (negativeTtl > 0 && !controller.signal.aborted) await remember(plan, error);
  } finally {
    // Whatever has failed, nobody waits for ever.
    grant.settle(write(outcome));
  }
  return outcome;
}

/**
 * What those are told who wait in other processes.
 * @param {Outcome} outcome
 * @returns {string}
 */
function write(outcome) {
  if (outcome === undefined) return '';
  if ('error' in outcome) return JSON.stringify({ error: described(outcome.error) });
  const { value } = outcome;
  const isText = typeof value === 'string' || (typeof value === 'object' && value !== null);
  if (!isText || Buffer.isBuffer(value)) return '';
  // What JSON would not give back is read from the store, as is what is long.
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

/**
 * @param {any} error
 * @returns {{ name?: string, message: string, code?: unknown }}
 */
function described(error) {
  if (!(error instanceof Error)) return { message: inspect(error).slice(0, MAX_MESSAGE) };
  const { name, message, code } = /** @type {any} */ (error);
  const isPlain = typeof code === 'number' || typeof code === 'string';
  return {
    name: `${name}`.slice(0, 100),
    message: `${message}`.slice(0, MAX_MESSAGE),
    code: isPlain && `${code}`.length < 100 ? code : undefined,
  };
}

/** @param {{ name?: string, message: string, code?: unknown }} error */
function rebuilt({ name = 'Error', message, code }) {
  const error = new Error(message);
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true });
  return code === undefined ? error : Object.assign(error, { code });
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

function storeOfFailures() {
  failures ??= require('./index').shared('\0failures', { size: '4MB', eviction: 'lru' });
  return failures;
}

/**
 * @param {Plan} plan
 * @returns {Outcome} a failure that is still to be told instead of another try
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
