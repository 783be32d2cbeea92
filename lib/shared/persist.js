'use strict';

// Stores that are kept in files. Only the primary saves them, for the last time when it ends. See
// types/shared.d.ts.

const { JSON, Set, process } = require('../globals');
const { keepListening } = require('../keep-listening');
const { loadBinding } = require('../load-binding');
const { inRootContext } = require('../root-context');
const { writeLine } = require('../stderr');

/** The stores that are kept. @type {Set<string>} */
const kept = new Set();

/** Stores whose save has failed and been warned about. @type {Set<string>} */
const failing = new Set();

/** Lives as long as this process. @type {unknown} */
let watch;

/**
 * @param {string} name
 * @returns {() => { at: number, revision: number, error?: string } | null} the result of the last save
 */
function keep(name) {
  const binding = loadBinding();
  if (watch === undefined) {
    watch = inRootContext(binding.watchSaves, onFailure);
    keepListening('exit', saveAll);
  }
  kept.add(name);
  return () => binding.savedShared(name);
}

function saveAll() {
  for (const why of loadBinding().saveShared()) {
    writeLine(`rcluster: a shared store was not saved: ${why}`);
  }
}

function onFailure() {
  for (const name of kept) {
    const saved = loadBinding().savedShared(name);
    if (saved === null) continue;
    if (saved.error === undefined) failing.delete(name);
    else if (!failing.has(name)) {
      failing.add(name);
      const message = `The shared store ${JSON.stringify(name)} cannot be saved, and is retried: ${saved.error}`;
      process.emitWarning(message, { code: 'RCLUSTER_SHARED_SAVE' });
    }
  }
}

module.exports = { keep };
