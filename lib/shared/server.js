'use strict';

// The state, the errors and the events of the server that holds a store's values. See types/shared.d.ts.

const { JSON, Math, Promise } = require('../globals');
const { failure } = require('./errors');
const { membership } = require('./opener');
const { gone } = require('./requests');

/** The numbers of the native fields. */
const FIELD = { STATE: 9, LAG: 10, QUEUED: 11, CONNECTS: 12, DISCONNECTS: 13, LOADS: 14, REVISION: 0 };

const STATES = ['none', 'connecting', 'loading', 'following', 'offline'];

/** The counter of each event. @type {Record<string, number>} */
const COUNTERS = { connect: FIELD.CONNECTS, disconnect: FIELD.DISCONNECTS, resync: FIELD.LOADS };

/**
 * @typedef {import('../../binding').SharedStore} NativeStore
 * @typedef {InstanceType<typeof import('./requests').Requests>} Requests
 */

/** @param {NativeStore} native */
function stats(native) {
  const { url, lastId, error } = native.server();
  const connects = native.field(FIELD.CONNECTS);
  return {
    state: STATES[native.field(FIELD.STATE)],
    url,
    lag: native.field(FIELD.LOADS) === 0 ? undefined : native.field(FIELD.LAG),
    lastId: lastId === '' ? undefined : lastId,
    queued: native.field(FIELD.QUEUED),
    reconnects: connects === 0 ? 0 : connects - 1,
    loads: native.field(FIELD.LOADS),
    error,
  };
}

/**
 * The error of a write that the server has not carried out, or may not have.
 * @param {NativeStore} native
 * @param {number} status the status in the native answer
 */
function refusal(native, status) {
  const { url, error, lost } = native.server();
  const cause = error ?? lost;
  const why = cause === undefined ? '' : `: ${cause}`;
  if (status === 7) {
    // The server's error may be cleared by now, because another write has succeeded.
    return failure(
      'ERR_RCLUSTER_FULL',
      `The server ${url} is out of memory (OOM): nothing has been written${why}`,
    );
  }
  if (status === 8) {
    return failure(
      'ERR_RCLUSTER_BACKEND',
      `The server ${url} refuses the write: nothing has been written${why}`,
    );
  }
  // Nothing is sent before the store has been loaded for the first time.
  const fate =
    native.field(FIELD.CONNECTS) === 0
      ? 'Nothing has been written'
      : 'If this was a write, it may or may not have been carried out';
  return failure('ERR_RCLUSTER_DISCONNECTED', `There is no connection to the server ${url}${why}. ${fate}`);
}

/**
 * The error of the event `disconnect`. The store may be connected again by now.
 * @param {NativeStore} native
 */
function loss(native) {
  const { url, lost } = native.server();
  return failure('ERR_RCLUSTER_DISCONNECTED', `The connection to the server ${url} was lost: ${lost}`);
}

/**
 * Waits until everything has been loaded for the first time, or this process has left its cluster.
 * @param {NativeStore} native
 * @param {Set<() => void>} watchers
 * @param {Requests} requests
 */
async function ready(native, watchers, requests) {
  if (native.field(FIELD.LOADS) > 0) return;
  const signal = membership();
  const release = requests.hold();
  await new Promise((/** @type {(value: void) => void} */ resolve, reject) => {
    const look = () => {
      // First, so that any change after the check is reported.
      native.wantChanges();
      const isLoaded = native.field(FIELD.LOADS) > 0;
      if (!isLoaded && !requests.closed && !signal.aborted) return;
      watchers.delete(look);
      signal.removeEventListener('abort', look);
      release();
      if (isLoaded) resolve();
      else reject(signal.aborted ? signal.reason : gone());
    };
    watchers.add(look);
    signal.addEventListener('abort', look);
    look();
  });
}

/**
 * @param {string} name of the store
 * @param {NativeStore} native
 * @param {Set<() => void>} watchers
 * @param {string} event
 * @param {(argument: any) => void} emit
 * @returns {() => void} a function that stops it
 */
function follow(name, native, watchers, event, emit) {
  if (native.field(FIELD.STATE) === 0) {
    throw failure('ERR_RCLUSTER_SHARED', `The store ${JSON.stringify(name)} has no backend`);
  }
  const counter = COUNTERS[event];
  // The first load is not a resync.
  const count = () => (event === 'resync' ? Math.max(native.field(counter), 1) : native.field(counter));
  let seen = count();
  const look = () => {
    // First, so that any change after the check is reported.
    native.wantChanges();
    for (const now = count(); seen < now; seen += 1) emit(argument());
  };
  const argument = () => {
    if (event === 'disconnect') return loss(native);
    return event === 'resync' ? { revision: native.field(FIELD.REVISION) } : { url: native.server().url };
  };
  watchers.add(look);
  look();
  return () => void watchers.delete(look);
}

module.exports = { follow, ready, refusal, stats };
