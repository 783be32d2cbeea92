'use strict';

const { on } = require('node:events');
const subject = require('./subject.js');

const cluster = subject.load();

/**
 * The body of a fixture: what each process that runs the file does. The primary plays `primary`; a process forked with
 * `ROLE` in its environment plays that role; any other worker plays `worker`.
 *
 * A primary must reach the end of its role and then end by itself: it fails if its event loop empties half
 * way, or if something still keeps it alive.
 * @param {Record<string, () => unknown>} roles
 */
function play(roles) {
  const role = process.env.ROLE || (cluster.isPrimary ? 'primary' : 'worker');
  const acted = roles[role]();
  if (role !== 'primary') return;
  let reachedTheEnd = false;
  process.on('exit', () => {
    if (reachedTheEnd) return;
    console.error('the primary ended before its role was over');
    process.exitCode ||= 70;
  });
  Promise.resolve(acted).then(() => {
    reachedTheEnd = true;
  });
}

/**
 * Reports an event to the test that started this fixture.
 * @param {string} name
 * @param {unknown} [data]
 */
function mark(name, data) {
  process.send({ mark: name, data });
}

/**
 * Carries out the commands of the test that started this fixture. `stop` ends the process as an application
 * would, in the middle of its work.
 * @param {Record<string, (data: any) => unknown>} [commands]
 */
function obey(commands = {}) {
  const known = { stop: () => process.exit(0), ...commands };
  process.on('message', (/** @type {any} */ { command, data }) => known[command](data));
}

/**
 * Queues the messages of a worker, which may arrive several at a time, until they are read one by one.
 * @param {import('node:events').EventEmitter} emitter
 * @returns {() => Promise<any>}
 */
function inbox(emitter) {
  const messages = on(emitter, 'message');
  return async () => (await messages.next()).value[0];
}

module.exports = { cluster, play, mark, obey, inbox };
