'use strict';

/** What /proc shows about a process from outside, without disturbing it. */

const fs = require('node:fs');

/** @typedef {Map<string, { name: string, ns: number }>} ThreadTimes CPU time by thread id */

/**
 * CPU time of every thread, in nanoseconds. `stat` counts in ticks of 10 ms, which is coarser than what is
 * measured here; `schedstat` is exact, but only per thread.
 * @param {number} pid
 * @returns {ThreadTimes}
 */
function threadTimes(pid) {
  const tasks = `/proc/${pid}/task`;
  const times = new Map();
  for (const tid of fs.readdirSync(tasks)) {
    try {
      const name = fs.readFileSync(`${tasks}/${tid}/comm`, 'utf8').trim();
      const ns = Number(fs.readFileSync(`${tasks}/${tid}/schedstat`, 'utf8').split(' ')[0]);
      times.set(tid, { name, ns });
    } catch (error) {
      // A thread may end between the listing and the reading; then it is not part of this snapshot.
      if (!['ENOENT', 'ESRCH'].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? '')) throw error;
    }
  }
  return times;
}

/**
 * CPU time between two snapshots, in microseconds: in all and by thread name. The time of a thread that ended
 * meanwhile is not known, so callers compare the total with what the process says about itself.
 * @param {ThreadTimes} before
 * @param {ThreadTimes} after
 */
function cpuBetween(before, after) {
  /** @type {Record<string, number>} */
  const byThread = {};
  let total = 0;
  for (const [tid, { name, ns }] of after) {
    const spent = (ns - (before.get(tid)?.ns ?? 0)) / 1000;
    total += spent;
    byThread[name] = (byThread[name] ?? 0) + spent;
  }
  return { total, byThread };
}

/**
 * Resident memory in KiB: with all shared pages (rss), and with each shared page divided among its users
 * (pss).
 * @param {number} pid
 */
function memory(pid) {
  const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const field = (/** @type {string} */ name) => {
    const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text);
    if (!match) throw new Error(`no ${name} in /proc/${pid}/smaps_rollup`);
    return Number(match[1]);
  };
  return { rss: field('Rss'), pss: field('Pss') };
}

/** @param {number} pid */
function openFiles(pid) {
  return fs.readdirSync(`/proc/${pid}/fd`).length;
}

/**
 * User and system time in clock ticks, and how often the threads went to sleep and were woken up.
 * @param {number} pid
 */
function activity(pid) {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command's name is in parentheses and may contain anything; the fields are counted after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  let switches = 0;
  for (const tid of fs.readdirSync(`/proc/${pid}/task`)) {
    const status = fs.readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
    switches += Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]);
  }
  return { ticks: Number(fields[11]) + Number(fields[12]), switches };
}

/**
 * How often the threads with a name went to sleep, and so have been or will be woken up.
 * @param {number} pid
 * @param {string} name
 */
function wakeUps(pid, name) {
  let total = 0;
  for (const tid of fs.readdirSync(`/proc/${pid}/task`)) {
    const status = fs.readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
    if (!status.startsWith(`Name:\t${name}\n`)) continue;
    total += Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]);
  }
  return total;
}

module.exports = { threadTimes, cpuBetween, memory, openFiles, activity, wakeUps };
