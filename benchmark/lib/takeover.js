'use strict';

/** The time from the kernel's report of a killed worker until another worker holds the resources of that worker. */

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const readline = require('node:readline');
const { median } = require('../../testing/stats.js');

/** What a worker can hold: a lock, the lead, or the creation of a value that is created once. */
const KINDS = ['lock', 'lease', 'flight'];

/** Reports when a process has ended, in ns of the monotonic clock, which is that of process.hrtime(). */
const OBSERVER = `
import os, select, sys, time
fd = os.pidfd_open(int(sys.argv[1]))
print("ready", flush=True)
select.select([fd], [], [])
print(time.monotonic_ns(), flush=True)
`;

/**
 * @param {(role: string, env: Record<string, string>) => import('node:cluster').Worker} start
 * @param {number} rounds
 * @param {string[]} lacking
 * @returns {Promise<Record<string, { median: number, max: number }> | undefined>} ms
 */
async function measureTakeover(start, rounds, lacking) {
  if (!(await canObserve())) {
    lacking.push('python3 with os.pidfd_open(), which tells when the kernel says that a process has ended');
    return undefined;
  }
  /** @type {Record<string, { median: number, max: number }>} */
  const all = {};
  for (const kind of KINDS) {
    const times = [];
    for (let round = 0; round < rounds; round++) times.push(await takeover(start, kind, `${kind} ${round}`));
    all[kind] = { median: median(times), max: Math.max(...times) };
  }
  return all;
}

async function canObserve() {
  const python = spawn('python3', ['-c', 'import os; os.pidfd_open'], { stdio: 'ignore' });
  const failed = once(python, 'error').then(() => 1);
  return (await Promise.race([failed, once(python, 'exit').then(([code]) => code)])) === 0;
}

/**
 * @param {(role: string, env: Record<string, string>) => import('node:cluster').Worker} start
 * @param {string} kind
 * @param {string} name
 */
async function takeover(start, kind, name) {
  const env = { BENCH_KIND: kind, BENCH_NAME: name };
  const holder = start('hold', env);
  await once(holder, 'message');
  const next = start('hold', env);
  // The worker has sent its request before this message, and the ring is read in order.
  await once(next, 'message');
  const python = spawn('python3', ['-c', OBSERVER, `${holder.process.pid}`]);
  const lines = readline.createInterface({ input: python.stdout })[Symbol.asyncIterator]();
  await lines.next();
  const granted = once(next, 'message');
  holder.process.kill('SIGKILL');
  const [{ at }] = await granted;
  const { value } = await lines.next();
  next.process.kill('SIGKILL');
  await once(next, 'exit');
  return Number(BigInt(at) - BigInt(value)) / 1e6;
}

module.exports = { KINDS, measureTakeover };
