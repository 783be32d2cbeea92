'use strict';

// One worker sabotages, the others serve. The effect on their clients and on the primary is printed as a line for each way and each
// policy.
//
//   node __test__/sabotage/run.js
//   node __test__/sabotage/run.js --ways sockets,'it stops' --policies kernel,forward-path --seconds 5
//
// Exits with 1 if a client of the others has failed, or another check has failed.

const { parseArgs } = require('node:util');
const { textTable } = require('../../testing/tables.js');
const { runInOwnNetwork } = require('../faults/network.js');
const { POLICIES, runSabotage } = require('./scenario.js');
const { FAMILIES, WAYS } = require('./ways');

const { values } = parseArgs({
  options: {
    ways: { type: 'string', multiple: true, default: [] },
    policies: { type: 'string', default: '' },
    seconds: { type: 'string', default: '3' },
    quiet: { type: 'string', default: '1' },
    rate: { type: 'string', default: '60' },
    workers: { type: 'string', default: '3' },
    seed: { type: 'string', default: `${Date.now() % 2 ** 31}` },
    brief: { type: 'boolean', default: false },
    untimed: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
});

/** In ms: the delay that a loaded machine adds to the slowest of a few hundred clients. */
const NOISE = 100;

/** In ms: for how long a sticky client waits for its own worker by default, when that is blocked. */
const STICKY_PATIENCE = 250;

/** @param {'seconds' | 'quiet' | 'rate' | 'workers' | 'seed'} name */
function number(name) {
  const value = Number(values[name]);
  if (!(value >= 0)) throw new Error(`--${name} has to be a number, not '${values[name]}'`);
  return value;
}

/** Resolves the names of ways, and of families for all their ways. */
function chosenWays() {
  const all = Object.keys(WAYS).filter((name) => !values.brief || WAYS[name].brief);
  // A name may have a comma in it.
  const words = values.ways.flatMap((word) => (WAYS[word] ? word : word.split(','))).filter(Boolean);
  const unknown = words.filter(
    (word) => !FAMILIES.includes(word) && !Object.keys(WAYS).some((name) => name.includes(word)),
  );
  if (unknown.length > 0) {
    throw new Error(`--ways: no way or family is called ${unknown.join(', ')}; see --list`);
  }
  if (words.length === 0) return all;
  const isMeant = (/** @type {string} */ word, /** @type {string} */ name) => {
    if (FAMILIES.includes(word)) return WAYS[name].family === word;
    return WAYS[word] ? name === word : name.includes(word);
  };
  return all.filter((name) => words.some((word) => isMeant(word, name)));
}

async function main() {
  if (values.list) {
    for (const [name, { family }] of Object.entries(WAYS)) console.log(`${family.padEnd(12)} ${name}`);
    return;
  }
  const ways = chosenWays();
  const words = values.policies.split(',').filter(Boolean);
  const unknown = words.filter((word) => !POLICIES.includes(/** @type {any} */ (word)));
  if (unknown.length > 0) {
    throw new Error(`--policies: not ${unknown.join(', ')}, but ${POLICIES.join(', ')}`);
  }
  const options = {
    ways,
    seconds: number('seconds'),
    quiet: number('quiet'),
    rate: number('rate'),
    workers: number('workers'),
    seed: number('seed'),
  };
  const inside = runInOwnNetwork();
  if (inside) {
    process.exitCode = await inside;
    return;
  }
  /** @type {import('./scenario').Row[]} */
  const rows = [];
  for (const policy of POLICIES) {
    if (words.length > 0 && !words.includes(policy)) continue;
    await runSabotage({ ...options, policy }, (row) => {
      if (
        !values.untimed &&
        !WAYS[row.way].holds &&
        row.p99 !== null &&
        row.quiet !== null &&
        row.p99 > 2 * row.quiet + NOISE + (policy === 'sticky' ? STICKY_PATIENCE : 0)
      ) {
        row.problems.push(`p99 ${row.p99} ms, and ${row.quiet} ms when it is quiet`);
      }
      rows.push(row);
      const { way, clients, failed, own, p99, quiet, problems } = row;
      console.log(
        `${policy}: ${way}: ${clients} clients, ${failed} failed, ${own} its own, p99 ${p99} (${quiet}) ms`,
      );
      for (const problem of problems) console.log(`  ! ${problem}`);
    });
  }
  console.log(table(rows));
  const failures = rows.filter(({ problems }) => problems.length > 0).length;
  console.log(`${rows.length} tried, ${failures} not as they should be`);
  if (failures > 0 || rows.length === 0) process.exitCode = 1;
}

/** @param {import('./scenario').Row[]} rows */
function table(rows) {
  const mib = (/** @type {number} */ bytes) => (bytes / 2 ** 20).toFixed(0);
  const percent = (/** @type {number} */ share) => `${Math.round(100 * share)}`;
  const native = ({ cpu }) =>
    Math.max(0, ...Object.entries(cpu).map(([name, share]) => (name.startsWith('rcluster') ? share : 0)));
  return textTable(
    [
      'policy',
      'way',
      'clients',
      'failed',
      'its own',
      'p99 ms',
      'quiet',
      'native CPU %',
      'peak MiB',
      'after MiB',
      'noticed',
      '',
    ],
    rows.map((row) => [
      row.policy,
      row.way,
      `${row.clients}`,
      `${row.failed}`,
      `${row.own}`,
      `${row.p99}`,
      `${row.quiet}`,
      percent(native(row)),
      mib(row.peak),
      mib(row.growth),
      row.noticed ? 'yes' : '',
      row.problems.length > 0 ? 'FAILED' : '',
    ]),
  );
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
