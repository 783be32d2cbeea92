'use strict';

// Listeners of `process` that stay when the application removes all of them.

const { Set, nextTick, process } = require('./globals');

/** Node's event for a listener that has been removed. */
const REMOVED = /** @type {any} */ ('removeListener');

/**
 * @typedef {object} Kept
 * @property {any} event
 * @property {(...args: any[]) => void} listener
 * @property {'on' | 'prependListener'} how
 */

/** @type {Set<Kept>} */
const kept = new Set();

/**
 * Listens for an event of `process` for as long as it lives.
 *
 * @param {string} event
 * @param {(...args: any[]) => void} listener
 * @param {'on' | 'prependListener'} [how]
 */
function keepListening(event, listener, how = 'on') {
  kept.add({ event, listener, how });
  restore();
}

/**
 * @param {unknown} event
 * @param {unknown} removed
 */
function onRemoved(event, removed) {
  for (const one of kept) {
    if (one.event !== event || one.listener !== removed) continue;
    // At once, because the process may exit in this turn; and again later, because process.removeAllListeners() without an
    // event forgets in the end whatever has been added meanwhile.
    listen(one);
    nextTick(restore);
  }
}

function restore() {
  if (!process.listeners(REMOVED).includes(onRemoved)) process.on(REMOVED, onRemoved);
  for (const one of kept) listen(one);
}

/** @param {Kept} kept */
function listen({ event, listener, how }) {
  if (!process.listeners(event).includes(listener)) process[how](event, listener);
}

module.exports = { keepListening };
