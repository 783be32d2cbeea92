'use strict';

// cluster.shared(): opens each store once and keeps it by name.

const { JSON, Map, Set } = require('../globals');
const builtin = require('../builtin');
const { checkKey, checkOptions } = require('./options');
const { SharedStore } = require('./store');
const { failure, sharedError } = require('./errors');
const { warnOfLoss } = require('./lost');
const { openerOf } = require('./opener');
const { inRootContext } = require('../root-context');

/**
 * The open stores, with the options that they were opened with.
 * @type {Map<string, { store: any, options: Set<string>, isLocal: boolean }>}
 */
const stores = new Map();

/**
 * @param {string} name
 * @param {import('../../index').SharedOptions} [options]
 */
function shared(name, options) {
  checkKey(name, 'name');
  const { native, plan } = checkOptions(options);
  const json = JSON.stringify(native);
  const known = stores.get(name);
  // With options that have not been passed before, the store is opened again, so that the primary compares them.
  if (known !== undefined && (json === '{}' || known.options.has(json))) return known.store;
  if (known?.isLocal || plan?.isLocal) return polled(name, json, plan, known);
  const open = openerOf('openShared', 'rcluster.shared', 'shared() is for the main thread of a process');
  try {
    const store = new SharedStore(
      (onNews, onEnd) => open(name, json, onNews, onEnd),
      () => onLost(name),
      name,
    );
    const opened = known ?? { store, options: new Set(), isLocal: false };
    if (known === undefined) {
      stores.set(name, opened);
      if (native.persist && !builtin.isWorker) store.keptBy(require('./persist').keep(name));
    } else {
      store.release();
    }
    // If the source cannot be attached, a call with the same options tries it again.
    if (plan !== undefined) inRootContext(() => opened.store.attach(plan));
    opened.options.add(json);
    return opened.store;
  } catch (error) {
    throw sharedError(/** @type {Error} */ (error));
  }
}

/**
 * A store that belongs to this process only. The primary does not know about it.
 * @param {string} name
 * @param {string} json
 * @param {import('./source/plan').Plan | undefined} plan
 * @param {{ store: any, options: Set<string>, isLocal: boolean } | undefined} known
 */
function polled(name, json, plan, known) {
  if (known !== undefined) {
    const [before] = known.options;
    const message = `The store ${JSON.stringify(name)} was opened before with other options: ${before} and not ${json}`;
    throw failure('ERR_RCLUSTER_SHARED_OPTIONS', message);
  }
  const { PolledStore } = require('./source/polled');
  const create = () => new PolledStore(name, /** @type {import('./source/plan').Plan} */ (plan));
  const store = inRootContext(create);
  stores.set(name, { store, options: new Set([json]), isLocal: true });
  return store;
}

/**
 * The thread that owns the stores is gone, or has cut this process off.
 * @param {string} name
 */
function onLost(name) {
  stores.delete(name);
  // In the primary, only a failure of that thread ends a store.
  if (!builtin.isWorker) {
    throw failure(
      'ERR_RCLUSTER_FAILED',
      'The native part has failed: shared stores can no longer be written to',
    );
  }
  warnOfLoss(
    `This worker has lost the shared store ${JSON.stringify(name)}: writes are rejected from now on`,
  );
}

module.exports = { shared };
