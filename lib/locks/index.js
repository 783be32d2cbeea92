'use strict';

// cluster.locks: as navigator.locks, for all processes of a cluster. See index.d.ts.

const { JSON, Object, Promise, String } = require('../globals');
const { invalidType, invalidValue } = require('../shared/errors');
const { members } = require('../shared/options');
const { checkName } = require('./check');
const { OTHERWISE, SPACE, acquire, domException, list } = require('./connection');
const { deadlock, heldHere, runHolding } = require('./context');

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
  const { mode, ifAvailable, steal, signal } = checkOptions(options);
  signal?.throwIfAborted();
  const shared = mode === 'shared';
  // It would wait for the callback that it is called in. Where both share the lock nobody has to wait, as a rule.
  const isNested = !ifAvailable && !steal && heldHere(SPACE.LOCK, name) !== undefined;
  const otherwise = steal ? OTHERWISE.STEAL : ifAvailable || isNested ? OTHERWISE.GIVE_UP : OTHERWISE.WAIT;
  const grant = await acquire({ space: SPACE.LOCK, name, shared, otherwise, signal });
  if (grant === undefined && isNested) throw deadlock(`The lock ${JSON.stringify(name)}`);
  if (grant === undefined || typeof grant === 'string') return callback(null);
  if (grant.lost !== undefined) throw grant.lost;
  const lock = Object.freeze({ name, mode, token: grant.token });
  const held = { space: SPACE.LOCK, name, shared, grant };
  return new Promise((resolve, reject) => {
    grant.onLost = reject;
    const run = async () => runHolding(held, () => callback(lock));
    void run().then(
      (result) => {
        grant.release();
        resolve(result);
      },
      (error) => {
        grant.release();
        reject(error);
      },
    );
  });
}

async function query() {
  /** @type {{ held: any[], pending: any[] }} */
  const all = { held: [], pending: [] };
  for (const { name, mode, worker, token } of await list()) {
    const item = { name, mode, clientId: String(worker) };
    if (token === null) all.pending.push(item);
    else all.held.push({ ...item, token });
  }
  return all;
}

/** @param {unknown} options */
function checkOptions(options) {
  const given = members(options, ['mode', 'ifAvailable', 'steal', 'signal']);
  const { mode = 'exclusive', ifAvailable = false, steal = false, signal } = given;
  if (mode !== 'exclusive' && mode !== 'shared') {
    throw invalidValue('options.mode', "must be 'exclusive' or 'shared'", mode);
  }
  for (const [name, value] of Object.entries({ ifAvailable, steal })) {
    if (typeof value !== 'boolean') throw invalidType(`options.${name}`, 'boolean', value);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalidType('options.signal', 'AbortSignal', signal);
  }
  if (steal && ifAvailable) throw notSupported('steal and ifAvailable cannot be used together');
  if (steal && mode !== 'exclusive') throw notSupported("steal is for the mode 'exclusive'");
  if (signal !== undefined && (steal || ifAvailable)) {
    throw notSupported('signal cannot be used with steal or ifAvailable: these do not wait');
  }
  return { mode, ifAvailable, steal, signal };
}

/** @param {string} message */
function notSupported(message) {
  return domException('ERR_INVALID_ARG_VALUE', 'NotSupportedError', message);
}

module.exports = { query, request };
