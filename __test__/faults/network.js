'use strict';

// The network that a run uses, and the kernel's counters of its backlogs.

const { spawn, spawnSync } = require('node:child_process');
const fs = require('node:fs');

/** Set in a process that has a network namespace of its own. */
const OWN = 'RCLUSTER_OWN_NETWORK';

/**
 * How often a TCP listener had no room, since the network namespace exists. `overflows` counts the connections that did not
 * fit into an accept queue; `drops` counts everything that a listener threw away, so it includes them.
 * @typedef {{ overflows: number, drops: number }} Backlogs
 */

/** @param {string} text of /proc/net/netstat @returns {Backlogs} */
function parseNetstat(text) {
  // Each group has two lines with the same first word: the names, then the values.
  const [names, values] = text
    .split('\n')
    .filter((line) => line.startsWith('TcpExt: '))
    .map((line) => line.split(' '));
  const value = (/** @type {string} */ name) => {
    const at = names ? names.indexOf(name) : -1;
    const number = Number(values?.[at]);
    if (at < 0 || !Number.isInteger(number)) throw new Error(`/proc/net/netstat has no TcpExt ${name}`);
    return number;
  };
  return { overflows: value('ListenOverflows'), drops: value('ListenDrops') };
}

/** @returns {Backlogs} of the network namespace of this process */
function readBacklogs() {
  return parseNetstat(fs.readFileSync('/proc/net/netstat', 'latin1'));
}

/** Whether only this run uses the network namespace. */
function hasOwnNetwork() {
  return process.env[OWN] === '1';
}

/**
 * Runs this program once more in a network namespace of its own, if this process may make one.
 * @returns {Promise<number> | null} its exit code; null if this process has such a namespace, or cannot make one
 */
function runInOwnNetwork() {
  if (hasOwnNetwork()) return null;
  const inside = (/** @type {string[]} */ ...command) => [
    '-n',
    'sh',
    '-c',
    'ip link set lo up && exec "$@"',
    'sh',
    ...command,
  ];
  if (spawnSync('unshare', inside('true'), { stdio: 'ignore' }).status !== 0) return null;
  const [, program, ...args] = process.argv;
  const child = spawn('unshare', inside(process.execPath, ...process.execArgv, program, ...args), {
    stdio: 'inherit',
    env: { ...process.env, [OWN]: '1' },
  });
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => child.kill(signal));
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

module.exports = { hasOwnNetwork, parseNetstat, readBacklogs, runInOwnNetwork };
