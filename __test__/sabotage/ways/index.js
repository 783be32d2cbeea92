'use strict';

// All ways of sabotage. A family is a file.

/**
 * One way.
 * @typedef {object} Way
 * @property {(kit: import('../kit').Kit) => unknown} act the attack. It may run until the worker is ended.
 * @property {boolean} [noticed] that the primary has to warn of the worker and cut it off. If omitted, the primary may or may not do so.
 * @property {'passing' | 'listening' | 'kernel' | 'forward'} [policies] where it applies: `passing`, connections are passed to workers;
 *   `listening`, the worker has a listening socket of the primary's; `kernel`, it is that worker's alone; `forward`, it has
 *   an address of its own. Everywhere if not given.
 * @property {boolean} [holds] that it may keep clients which it has not noted: by false claims, or in a socket of its own
 * @property {boolean} [closes] that Node closes what waits in its backlog, which the app does not record. Behind a forwarder
 *   these are its clients (docs/own-port.md); a listener that is shared has its backlog in the primary.
 * @property {boolean} [brief] that the short run in the tests includes it
 */

/** @type {Record<string, Record<string, Way>>} */
const FAMILIES = {
  channel: require('./channel.js'),
  sockets: require('./sockets.js'),
  descriptors: require('./descriptors.js'),
  memory: require('./memory.js'),
  process: require('./process.js'),
  flooding: require('./flooding.js'),
  timing: require('./timing.js'),
};

/** @type {Record<string, Way & { family: string }>} */
const WAYS = {};
for (const [family, ways] of Object.entries(FAMILIES)) {
  for (const [name, way] of Object.entries(ways)) {
    if (WAYS[name]) throw new Error(`two ways are called '${name}'`);
    WAYS[name] = { ...way, family };
  }
}

module.exports = { FAMILIES: Object.keys(FAMILIES), WAYS };
