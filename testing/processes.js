'use strict';

const fs = require('node:fs');
const { setTimeout: pause } = require('node:timers/promises');

/** Long enough for a loaded machine: it passes only if something hangs. */
const DEADLINE = 60_000;

/**
 * Polls for a condition that has no event, such as the end of a process.
 * @template T
 * @param {string} what named in the error when the deadline passes
 * @param {() => T | Promise<T>} condition
 * @param {number} [deadline]
 * @returns {Promise<T>} the first truthy value of the condition
 */
async function until(what, condition, deadline = DEADLINE) {
  const end = Date.now() + deadline;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${deadline} ms in vain: ${what}`);
    await pause(10);
  }
}

/**
 * Waits for something that may hang.
 * @template T
 * @param {string} what named in the error when the deadline passes
 * @param {Promise<T>} promise
 * @param {number} [deadline]
 * @returns {Promise<T>}
 */
async function within(what, promise, deadline = DEADLINE) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${deadline} ms in vain: ${what}`)), deadline);
  });
  try {
    return await /** @type {Promise<T>} */ (Promise.race([promise, late]));
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {number} pid
 * @returns {{ state: string, parent: number, group: number, session: number } | null} null when there is no such process
 */
function statusOf(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name is in parentheses and may itself contain spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0], parent: +fields[1], group: +fields[2], session: +fields[3] };
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return null;
    throw error;
  }
}

/**
 * Whether every thread of a process has been stopped by a signal: they stop one by one.
 * @param {number} pid
 */
function isStopped(pid) {
  const threads = fs.readdirSync(`/proc/${pid}/task`);
  return threads.every((thread) => statusOf(Number(thread))?.state === 'T');
}

/**
 * Whether a process is alive. A zombie is not: it only waits to be reaped.
 * @param {number} pid
 */
function isAlive(pid) {
  const status = statusOf(pid);
  return status !== null && status.state !== 'Z' && status.state !== 'X';
}

/** @returns {number[]} all processes, living or dead */
function allProcesses() {
  return fs
    .readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number);
}

/**
 * @param {number} leader
 * @returns {number[]} the living processes of the group or session that this process leads or led
 */
function membersOf(leader) {
  return allProcesses().filter((pid) => {
    const status = statusOf(pid);
    return (
      status !== null &&
      (status.group === leader || status.session === leader) &&
      status.state !== 'Z' &&
      status.state !== 'X'
    );
  });
}

/**
 * @param {number} parent
 * @returns {number} how many of its children have ended and are not reaped
 */
function zombiesOf(parent) {
  return allProcesses().filter((pid) => {
    const status = statusOf(pid);
    return status !== null && status.parent === parent && status.state === 'Z';
  }).length;
}

/**
 * @param {number} leader
 */
function killAll(leader) {
  for (const pid of membersOf(leader)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

/**
 * @param {number} pid
 * @returns {string} the command line, for messages
 */
function commandOf(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '(gone)';
  }
}

/**
 * @param {number | 'self'} pid
 * @returns {Map<number, string>} what each open descriptor of the process refers to
 */
function descriptorsOf(pid) {
  const descriptors = new Map();
  for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
    try {
      descriptors.set(Number(fd), fs.readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch (error) {
      // The descriptor that readdir itself used, or one closed meanwhile.
      if (error.code !== 'ENOENT') throw error;
    }
  }
  return descriptors;
}

module.exports = {
  DEADLINE,
  until,
  within,
  statusOf,
  allProcesses,
  isAlive,
  isStopped,
  membersOf,
  zombiesOf,
  killAll,
  commandOf,
  descriptorsOf,
};
