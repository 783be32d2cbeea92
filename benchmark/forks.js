'use strict';

/**
 * Whether anything grows in the primary with the number of workers that have ended: memory, open files,
 * zombies. Garbage is collected before each reading, so what remains is really referenced.
 */

const { fork } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');

const { chooseContestants } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { memory, openFiles } = require('../testing/proc.js');
const { zombiesOf } = require('../testing/processes.js');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');
const { print } = require('../testing/tables.js');

const PARTS = 5;
/** The reading from which on memory is compared. */
const WARM = 2;
/** The nursery of V8 grows by many times the size of a leak, so it is fixed at its initial size here. */
const EXEC_ARGV = ['--expose-gc', '--min-semi-space-size=1', '--max-semi-space-size=1'];

/** @typedef {{ forks: number, rss: number, pss: number, files: number, zombies: number }} Reading memory in KiB */

run(async () => {
  const options = readOptions('Growth of the primary with the number of workers that came and went.', {
    forks: { default: 10_000, help: 'workers forked between the first and the last reading' },
    warmup: { default: 500, help: 'workers forked before the first reading' },
    abreast: { default: 4, help: 'workers alive at a time' },
    only: { ...flags.only, default: 'rcluster' },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  const results = [];
  for (const contestant of chooseContestants(options.only)) {
    print(`\n${contestant.label}: ${options.forks} forks after ${options.warmup} to warm up (memory in KiB)`);
    results.push({ contestant: contestant.id, readings: await measure(contestant, options) });
  }
  const readings = results.find(({ contestant }) => contestant === 'rcluster')?.readings ?? [];
  const [first, last] = [readings[0], readings[readings.length - 1]];
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Thousands of workers, one after the other',
    about:
      `What the primary has gained after ${options.forks} workers that came and went, ${options.abreast} at a time, after ` +
      `${options.warmup} to warm up: memory in KiB, open files and zombies. Garbage is collected before each reading.`,
    tables: results.map(({ contestant, readings }) => ({
      title: contestant,
      header: ['workers', 'RSS', 'PSS', 'files', 'zombies'],
      rows: readings.map(({ forks, rss, pss, files, zombies }) =>
        [forks, rss, pss, files, zombies].map(String),
      ),
    })),
    targets: [
      { name: 'zombies', value: last?.zombies, atMost: 0 },
      { name: 'growth of open files', value: last?.files - first?.files, atMost: 0 },
      // V8 compiles and collects statistics for some thousand forks, with the built-in as well. A leak of 200 bytes
      // a worker would exceed this.
      { name: 'growth of memory after that, KiB', value: last?.pss - readings[WARM]?.pss, atMost: 1024 },
    ],
  };
  publish('forks', section, { machine, options, results });
});

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ forks: number, warmup: number, abreast: number }} options
 * @returns {Promise<Reading[]>}
 */
async function measure(contestant, { forks, warmup, abreast }) {
  const primary = fork(path.join(__dirname, 'fixtures', 'forker.js'), {
    execArgv: EXEC_ARGV,
    env: {
      ...process.env,
      ...contestant.env,
      BENCH_CLUSTER: contestant.module,
      BENCH_ABREAST: String(abreast),
    },
  });
  const exit = once(primary, 'exit');
  exit.catch(() => {});
  const forkSome = async (/** @type {number} */ count) => {
    primary.send(count);
    const news = await Promise.race([once(primary, 'message'), exit]);
    if (news[0] !== 'done') throw new Error(`${contestant.id} ended with ${news[0] ?? news[1]}`);
  };
  const pid = /** @type {number} */ (primary.pid);
  /** @type {Reading[]} */
  const readings = [];
  const read = (/** @type {number} */ done) => {
    const reading = { forks: done, ...memory(pid), files: openFiles(pid), zombies: zombiesOf(pid) };
    readings.push(reading);
    print(
      `  ${String(done).padStart(7)}  RSS ${reading.rss}, PSS ${reading.pss} (${signed(reading.pss - readings[0].pss)}), ` +
        `files ${reading.files}, zombies ${reading.zombies}`,
    );
  };
  await forkSome(warmup);
  read(0);
  for (let part = 1; part <= PARTS; part++) {
    const done = Math.round((forks * part) / PARTS);
    await forkSome(done - readings[readings.length - 1].forks);
    read(done);
  }
  primary.disconnect();
  await exit;
  return readings;
}

/** @param {number} value */
function signed(value) {
  return value > 0 ? `+${value}` : String(value);
}
