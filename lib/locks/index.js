'use strict';

// cluster.locks: like navigator.locks, for all processes of a cluster. See index.d.ts.

const { JSON, Object, Promise, String } = require('../globals');
const { invalidType, invalidValue } = require('../shared/errors');
const { members } = require('../shared/members');
const { InProgress } = require('../shared/retiring');
const { FOR_LIFE, checkLease, checkName } = require('./check');
const { OTHERWISE, SPACE, acquire, domException, list } = require('./connection');
const { deadlock, heldHere, runHolding } = require('./context');

/** The locks that are held here: otherwise the next holder would run together with a callback that has not ended. */
const holding = new InProgress('Lock');

/**
 * @param {string} name
 * @param {any} options
 * @param {any} [callback]
 */
async function request(name, options, callback) {
  if (callback === undefined) [options, callback] = [undefined, options];
  checkName(name);
  if (name.startsWith('-')) throw notSupported("the name of a lock does not begin with '-'");
  if (typeof callback !== 'function') throw invalidType('callback', 'function', callback);
  const { mode, ifAvailable, steal, signal, ttl } = checkOptions(options);
  signal?.throwIfAborted();
  const shared = mode === 'shared';
  // A nested request would wait for the callback that it is called in, unless both share the lock and it is
  // free for sharing.
  const space = ttl === undefined ? SPACE.LOCK : SPACE.LEASED_LOCK;
  const isNested = !ifAvailable && !steal && heldHere(space, name) !== undefined;
  const otherwise = steal ? OTHERWISE.STEAL : ifAvailable || isNested ? OTHERWISE.GIVE_UP : OTHERWISE.WAIT;
  const grant = await acquire({ space, name, shared, ttl, otherwise, signal });
  if (grant === undefined && isNested) throw deadlock(`The lock ${JSON.stringify(name)}`);
  if (grant === undefined || typeof grant === 'string') return callback(null);
  if (grant.lost !== undefined) throw grant.lost;
  const lost = ttl === undefined ? undefined : new AbortController();
  const facts = { name, mode, token: grant.token };
  const lock = Object.freeze(lost === undefined ? facts : { ...facts, signal: lost.signal });
  const held = { space, name, shared, grant };
  // Under the symbol, an adapter says that its callback ends only with the process.
  const holds = options?.[FOR_LIFE] !== true;
  if (holds) holding.begin();
  grant.onLeave = () => {};
  return new Promise((resolve, reject) => {
    const end = () => {
      if (holds) holding.end();
    };
    grant.onLost = (error) => {
      end();
      reject(error);
      lost?.abort(error);
    };
    const release = () => {
      if (grant.held) end();
      grant.release();
    };
    const run = async () => runHolding(held, () => callback(lock));
    void run().then(
      (result) => {
        release();
        resolve(result);
      },
      (error) => {
        release();
        reject(error);
      },
    );
  });
}

async function query() {
  /** @type {{ held: any[], pending: any[] }} */
  const all = { held: [], pending: [] };
  for (const { name, mode, worker, token, scope } of await list()) {
    const common = { name, mode, clientId: String(worker) };
    const item = scope === 'all' ? { ...common, scope } : common;
    if (token === null) all.pending.push(item);
    else all.held.push({ ...item, token });
  }
  return all;
}

/** @param {unknown} options */
function checkOptions(options) {
  const given = members(options, ['mode', 'ifAvailable', 'steal', 'signal', 'scope', 'ttl']);
  const { mode = 'exclusive', ifAvailable = false, steal = false, signal } = given;
  const ttl = checkLease(given.scope, given.ttl);
  if (mode !== 'exclusive' && mode !== 'shared') {
    throw invalidValue('options.mode', "must be 'exclusive' or 'shared'", mode);
  }
  for (const [name, value] of Object.entries({ ifAvailable, steal })) {
    if (typeof value !== 'boolean') throw invalidType(`options.${name}`, 'boolean', value);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidType('options.signal', 'AbortSignal', signal);
  }
  if (ttl !== undefined && mode !== 'exclusive') {
    throw notSupported("the mode 'shared' is for one machine, and the scope 'all' for exclusive locks");
  }
  if (steal && ifAvailable) throw notSupported('steal and ifAvailable cannot be used together');
  if (steal && mode !== 'exclusive') throw notSupported("steal is for the mode 'exclusive'");
  if (signal !== undefined && (steal || ifAvailable)) {
    throw notSupported('signal cannot be used with steal or ifAvailable: these do not wait');
  }
  return { mode, ifAvailable, steal, signal, ttl };
}

/** @param {string} message */
function notSupported(message) {
  return domException('ERR_INVALID_ARG_VALUE', 'NotSupportedError', message);
}

module.exports = { query, request };
