'use strict';

const fs = require('node:fs');
const { Number, realProcess: process } = require('../globals');
const { writeLine } = require('../stderr');

// The signals with which operators of pm2, puma, gunicorn and nginx steer a primary, apart from those that end it.

/** @typedef {import('../../index').Supervisor} Supervisor */

/** @param {Supervisor} supervisor */
function listenToOperators(supervisor) {
  // Supervision logs failures.
  const reload = () => supervisor.reload().catch(() => {});
  process.on('SIGHUP', () => (hasLostTerminal() ? supervisor.shutdown() : reload()));
  // Node itself listens for it if it is to write a report or a heap snapshot.
  if (process.listenerCount('SIGUSR2') === 0) process.on('SIGUSR2', reload);
  process.on('SIGTTIN', () => scaleBy(supervisor, 1, 'SIGTTIN'));
  process.on('SIGTTOU', () => scaleBy(supervisor, -1, 'SIGTTOU'));
}

/**
 * @param {Supervisor} supervisor
 * @param {number} difference
 * @param {string} signal
 */
function scaleBy(supervisor, difference, signal) {
  if (isInBackground()) {
    return writeLine(
      `rcluster: ${signal} is ignored in the background of a terminal, which also sends it; use rcluster scale`,
    );
  }
  const workers = supervisor.stats().workers + difference;
  writeLine(`rcluster: scales to ${workers} because of ${signal}`);
  return supervisor.scale(workers).catch((/** @type {unknown} */ error) => {
    writeLine(`rcluster: cannot scale to ${workers}: ${/** @type {Error} */ (error).message}`);
  });
}

/**
 * Whether this process belongs to a background job of a terminal. The kernel sends such a job SIGTTIN and SIGTTOU each time
 * that one of its processes uses the terminal.
 */
function isInBackground() {
  const stat = fs.readFileSync('/proc/self/stat', 'latin1');
  // The name of the program, in parentheses, may contain anything.
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(foreground) > 0 && foreground !== group;
}

/** Whether stderr is a terminal that has been closed. */
function hasLostTerminal() {
  const facts = fs.fstatSync(2);
  // Devices with the major number 1, such as /dev/null, have never been terminals.
  return facts.isCharacterDevice() && facts.rdev >> 8 !== 1 && !require('node:tty').isatty(2);
}

module.exports = { listenToOperators };
