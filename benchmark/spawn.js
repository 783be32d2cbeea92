'use strict';

/** How long cluster.fork() blocks the primary, with a small and with a large heap. */

const path = require('node:path');
const { fork } = require('node:child_process');
const { chooseContestants } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave } = require('./lib/rounds');
const { publish } = require('./lib/section');
const { median, summarise } = require('../testing/stats.js');

/**
 * Times in milliseconds, memory in bytes.
 * @typedef {{ heapMb: number, blocked: number[], online: number[], heapUsed: number, rss: number }} Sample
 */

run(async () => {
  const options = readOptions(
    'Time that cluster.fork() takes in the primary, and time to the event online.',
    {
      forks: { default: 20, help: 'workers forked, one after the other, in each measurement' },
      heap: { default: 1536, help: 'MiB that the large heap holds' },
      rounds: flags.rounds,
      only: flags.only,
      seed: flags.seed,
      check: flags.check,
    },
  );
  const chosen = chooseContestants(options.only, ['builtin-rr', 'rcluster']);
  const machine = circumstances();
  print(describe(machine));
  print(`${options.forks} forks in each of ${options.rounds} rounds, seed ${options.seed}`);

  const heaps = [0, options.heap];
  const results = await interleave(chosen, options, async (contestant, round) => {
    /** @type {Sample[]} */
    const samples = [];
    for (const heapMb of heaps) {
      const sample = await measure(contestant, heapMb, options.forks);
      samples.push(sample);
      const heap = `heap ${Math.round(sample.heapUsed / 2 ** 20)} MiB`.padEnd(13);
      const [blocked, online] = [median(sample.blocked).toFixed(3), median(sample.online).toFixed(1)];
      print(
        `round ${round}  ${contestant.id.padEnd(12)}  ${heap}  fork() ${blocked} ms, online ${online} ms`,
      );
    }
    return samples;
  });

  const summary = results.flatMap(({ contestant, samples }) =>
    heaps.map((heapMb, i) => ({
      id: contestant.id,
      label: contestant.label,
      heapMb,
      blocked: summarise(samples.map((sample) => median(sample[i].blocked))),
      online: summarise(samples.map((sample) => median(sample[i].online))),
    })),
  );
  const rows = summary.map(({ label, heapMb, blocked, online }) => [
    `${label}, ${heapMb === 0 ? 'small heap' : `${heapMb} MiB`}`,
    range(blocked, 3),
    range(online, 1),
  ]);
  const time = (/** @type {string} */ id, /** @type {number} */ heapMb) =>
    summary.find((row) => row.id === id && row.heapMb === heapMb)?.blocked.median ?? NaN;
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'fork()',
    about:
      'For how long `cluster.fork()` keeps the primary from everything else, and the time to the event online: ' +
      `${options.forks} workers one after the other, with a small heap and with one that holds ${options.heap} MiB. ` +
      `Medians of the medians of ${options.rounds} rounds, and lowest–highest.`,
    tables: [{ header: ['in ms', 'fork() blocks', 'online after'], rows }],
    targets: [
      {
        name: 'fork() with the large heap, × the built-in',
        value: time('rcluster', options.heap) / time('builtin-rr', options.heap),
        atMost: 1,
      },
      {
        name: 'fork() with the large heap, × with the small one',
        value: time('rcluster', options.heap) / time('rcluster', 0),
        atMost: 2,
      },
    ],
  };
  publish('spawn', section, { machine, options, summary, results });
});

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {number} heapMb
 * @param {number} forks
 * @returns {Promise<Sample>}
 */
function measure(contestant, heapMb, forks) {
  return new Promise((resolve, reject) => {
    const child = fork(path.join(__dirname, 'fixtures', 'spawner.js'), {
      execArgv: [`--max-old-space-size=${heapMb * 2 + 256}`],
      env: {
        ...process.env,
        ...contestant.env,
        BENCH_CLUSTER: contestant.module,
        BENCH_HEAP_MB: String(heapMb),
        BENCH_FORKS: String(forks),
      },
    });
    /** @type {any} */
    let result;
    child.on('error', reject);
    child.on('message', (message) => (result = message));
    child.on('exit', (code, signal) => {
      if (code === 0 && result) resolve({ heapMb, ...result });
      else reject(new Error(`${contestant.id} ended with ${code ?? signal}`));
    });
  });
}

/**
 * @param {import('../testing/stats.js').Summary} summary
 * @param {number} digits
 */
function range({ median, min, max }, digits) {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}
