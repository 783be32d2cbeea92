'use strict';

/**
 * The effect on clients when the primary's JavaScript is busy: new connections at a steady rate, the primary
 * blocked for some seconds, and the latencies of requests begun during that time compared with those of
 * requests begun before.
 */

const { setTimeout: delay } = require('node:timers/promises');
const { App } = require('./lib/app');
const { runClient } = require('./lib/client');
const { chooseContestants } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave } = require('./lib/rounds');
const { publish } = require('./lib/section');
const { percentile, summarise } = require('../testing/stats.js');

/** @typedef {import('./lib/client').RequestRecord} RequestRecord */

/**
 * Seconds before the measured time, in which processes warm up, and after it, in which the last answers
 * arrive.
 */
const WARMUP = 1;
const TAIL = 1;
/**
 * Requests begun just before the block would overlap it, so they are not counted as unblocked.
 */
const GUARD_MS = 100;

run(async () => {
  const options = readOptions('Latency while the JavaScript of the primary is blocked.', {
    workers: flags.workers,
    rate: flags.rate,
    block: { default: 3, help: 'seconds for which the primary is blocked, and seconds measured without' },
    rounds: flags.rounds,
    timeout: flags.timeout,
    only: flags.only,
    seed: flags.seed,
    check: flags.check,
  });
  const chosen = chooseContestants(options.only, ['builtin-rr', 'rcluster']);
  const machine = circumstances();
  print(describe(machine));
  const { rate, block, rounds, seed } = options;
  print(`${rate} connections/s, primary blocked ${block} s, ${rounds} rounds, seed ${seed}`);

  const results = await interleave(chosen, options, async (contestant, round) => {
    const sample = await measure(contestant, options);
    const { without, blocked, ratio } = sample;
    const times = `p99 ${without.p99.toFixed(1)} ms, blocked ${blocked.p99.toFixed(1)} ms`;
    print(`round ${round}  ${contestant.id.padEnd(12)}  ${times}, ratio ${ratio.toFixed(2)}`);
    return sample;
  });

  const rows = results.flatMap(({ contestant, samples }) =>
    /** @type {const} */ (['without', 'blocked']).map((phase) => [
      `${contestant.label}, ${phase}`,
      ...columns.map((column) => range(samples.map((sample) => sample[phase][column]))),
      String(samples.reduce((total, sample) => total + sample[phase].failed, 0)),
    ]),
  );
  const ratios = results.map(({ contestant, samples }) => ({
    id: contestant.id,
    ratio: summarise(samples.map(({ ratio }) => ratio)),
  }));
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'A blocked primary',
    about:
      `New connections at a steady rate of ${rate} a second to ${options.workers} workers, while the JavaScript of the ` +
      `primary is blocked for ${block} s, and for as long before that. One that failed counts with the time after which ` +
      `that was known. Medians, and lowest–highest of ${rounds} rounds.`,
    tables: [
      { header: ['latencies in ms', ...columns, 'failed'], rows },
      {
        title: 'p99 while the primary is blocked ÷ p99 without',
        header: ['', 'ratio'],
        rows: ratios.map(({ id, ratio }) => [id, ratio.median.toFixed(2)]),
      },
    ],
    targets: [
      {
        name: 'p99 while the primary is blocked ÷ p99 without',
        value: ratios.find(({ id }) => id === 'rcluster')?.ratio.median,
        atMost: 1,
      },
    ],
  };
  publish('blocked-primary', section, { machine, options, ratios, results });
});

const columns = /** @type {const} */ (['p50', 'p99', 'max']);

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, rate: number, block: number, timeout: number }} options
 */
async function measure(contestant, { workers, rate, block, timeout }) {
  const app = await App.start(contestant, { workers });
  const load = runClient({
    mode: 'open',
    port: app.port,
    rate,
    seconds: WARMUP + 2 * block + TAIL,
    timeoutMs: timeout * 1000,
  });
  const [{ records }, { from, to }] = await Promise.all([
    load,
    delay((WARMUP + block) * 1000).then(() => app.ask('block', { ms: block * 1000 })),
  ]);
  await app.stop();
  const without = phase(records, from - block * 1000, from - GUARD_MS);
  const blocked = phase(records, from, to);
  return { without, blocked, ratio: blocked.p99 / without.p99 };
}

/**
 * The requests begun in a period. A failed request counts with the time until its failure was detected.
 * @param {readonly RequestRecord[]} records
 * @param {number} from
 * @param {number} to
 */
function phase(records, from, to) {
  const begun = records.filter(({ at }) => at >= from && at < to);
  if (begun.length === 0) throw new Error('no request was begun in the time that counts');
  const latencies = begun.map(({ latency }) => latency);
  return {
    requests: begun.length,
    failed: begun.filter(({ outcome }) => outcome !== 'ok').length,
    p50: percentile(latencies, 50),
    p99: percentile(latencies, 99),
    max: percentile(latencies, 100),
    clientLateness: percentile(
      begun.map(({ lateness }) => lateness),
      99,
    ),
  };
}

/** @param {readonly number[]} values */
function range(values) {
  const { median, min, max } = summarise(values);
  return `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`;
}
