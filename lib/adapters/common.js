'use strict';

// Shared by the adapters: opening the store, loading the adapted package, and callbacks.

const { Error, Object, nextTick } = require('../globals');
const { invalidType } = require('../errors');
const { checkKey } = require('../shared/options');

/** A store is recognized by these methods, because another copy of this package may have opened it. */
const METHODS = ['atomic', 'clear', 'delete', 'entry', 'get', 'increment', 'keys', 'set', 'touch', 'watch'];

/**
 * @param {unknown} store the adapter's option
 * @param {string} name the name of the store that is opened without the option
 * @param {import('../../index').SharedOptions} [options] the options of that store
 * @returns {import('../../index').SharedStore}
 */
function openStore(store, name, options) {
  if (store === undefined) return /** @type {any} */ (require('../../index')).shared(name, options);
  const isStore =
    typeof store === 'object' &&
    store !== null &&
    METHODS.every((method) => typeof (/** @type {any} */ (store)[method]) === 'function');
  if (!isStore) throw invalidType('options.store', 'SharedStore, which cluster.shared() returns', store);
  return /** @type {import('../../index').SharedStore} */ (store);
}

/**
 * @param {unknown} prefix of the keys in the store
 * @returns {string}
 */
function checkPrefix(prefix) {
  return checkKey(prefix, 'options.prefix');
}

/**
 * Loads the package that an adapter extends.
 * @template T
 * @param {string} name
 * @param {() => T} load
 * @returns {T}
 */
function peer(name, load) {
  try {
    return load();
  } catch (cause) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (cause);
    // A dependency of that package may be missing instead.
    const isMissing = [`'${name}'`, `'${name}/`].some((start) => message.includes(start));
    if (code !== 'MODULE_NOT_FOUND' || !isMissing) throw cause;
    const text = `rcluster/${name} needs the package ${name}, which is not installed: npm install ${name}`;
    throw Object.assign(new Error(text, { cause }), { code: 'ERR_RCLUSTER_PEER' });
  }
}

/**
 * Passes the result of a promise to a callback. An exception in the callback is uncaught, not a rejection.
 * @template T
 * @param {Promise<T>} promise
 * @param {((error: any, value?: T) => void) | undefined} callback
 * @returns {Promise<T> | undefined} the promise if there is no callback
 */
function answer(promise, callback) {
  if (callback === undefined) return promise;
  void promise.then(
    (value) => nextTick(callback, null, value),
    (error) => nextTick(callback, error),
  );
  return undefined;
}

module.exports = { answer, checkPrefix, openStore, peer };
