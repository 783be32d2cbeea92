'use strict';

const { on } = require('node:events');
const subject = require('./subject.js');

const cluster = subject.load();

/**
 * The body of a fixture: what each process does that runs the file. The primary plays `primary`; a process forked with
 * `ROLE` in its environment plays that role; any other worker plays `worker`.
 *
 * A primary has to reach the end of its role and then to end by itself: one that runs out of things to wait for half way,
 * or that something still holds back, fails.
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
 * Tells the test that started this fixture that something has happened.
 * @param {string} name
 * @param {unknown} [data]
 */
function mark(name, data) {
  process.send({ mark: name, data });
}

/**
 * Obeys the test that started this fixture. `stop` ends the process as an application would, in the middle of everything.
 * @param {Record<string, (data: any) => unknown>} [commands]
 */
function obey(commands = {}) {
  const known = { stop: () => process.exit(0), ...commands };
  process.on('message', (/** @type {any} */ { command, data }) => known[command](data));
}

/**
 * Keeps the messages of a worker, which may come several at a time, until they are asked for one by one.
 * @param {import('node:events').EventEmitter} emitter
 * @returns {() => Promise<any>}
 */
function inbox(emitter) {
  const messages = on(emitter, 'message');
  return async () => (await messages.next()).value[0];
}

module.exports = { cluster, play, mark, obey, inbox };
