'use strict';

/**
 * Real clients, and faults in the application that serves them, for any time; then the outcome of each client.
 *
 *   node __test__/faults/run.js --minutes 10
 *   node __test__/faults/run.js --minutes 10 --supervise --policy least-connections
 *   node __test__/faults/run.js --minutes 5 --forward port --faults kill,stop
 *
 * Ends with code 1 if a client is unaccounted for, a request was executed twice, or anything is left behind.
 * A user who may create a network namespace (root) gets one for the run, so that no other process changes the
 * kernel's counters.
 */

const { parseArgs } = require('node:util');
const { print } = require('../../testing/tables.js');
const { FAULTS } = require('./injector.js');
const { runInOwnNetwork } = require('./network.js');
const { report } = require('./report.js');
const { runFaults } = require('./scenario.js');

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: `${Date.now() % 2 ** 31}` },
    policy: { type: 'string', default: 'round-robin' },
    faults: { type: 'string', default: '' },
    workers: { type: 'string', default: '4' },
    rate: { type: 'string', default: '200' },
    forward: { type: 'string' },
    supervise: { type: 'boolean', default: false },
    shed: { type: 'boolean', default: false },
  },
});

async function main() {
  // Only a supervised cluster can reload.
  const possible = Object.keys(FAULTS).filter((name) => name !== 'reload' || values.supervise);
  const faults = values.faults.split(',').filter(Boolean);
  const unknown = faults.filter((name) => !possible.includes(name));
  if (unknown.length > 0) throw new Error(`--faults: not ${unknown.join(', ')}, but ${possible.join(', ')}`);
  if (!['port', 'path', undefined].includes(values.forward)) throw new Error('--forward: port or path');
  /** @type {import('./scenario').Options} */
  const options = {
    seconds: 60 * number('minutes'),
    seed: number('seed'),
    workers: number('workers'),
    rate: number('rate'),
    policy: values.policy,
    faults: faults.length > 0 ? faults : possible,
    supervise: values.supervise,
    forward: /** @type {'port' | 'path' | undefined} */ (values.forward) ?? null,
    shed: values.shed,
  };
  const inside = runInOwnNetwork();
  if (inside) {
    process.exitCode = await inside;
    return;
  }
  print(JSON.stringify(options));
  const result = await runFaults(options);
  print(report(result));
  const { unaccounted, repeated, miscounted, leaks, total } = result;
  const isClean = [unaccounted, repeated, miscounted, leaks].every(({ length }) => length === 0);
  if (!isClean || total.answered === 0) process.exitCode = 1;
}

/** @param {'minutes' | 'seed' | 'workers' | 'rate'} name */
function number(name) {
  const value = Number(values[name]);
  if (!(value >= 0)) throw new Error(`--${name} has to be a number, not '${values[name]}'`);
  return value;
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
