'use strict';

/**
 * Requests of very different weight: new connections at a steady rate, most of them 1 ms of work and one in twenty
 * 100 ms, during which the event loop of its worker stands still. What the short ones suffer from the long ones is the
 * balancing's doing. (Work is waiting, see the fixture: the CPUs are not what is measured.)
 */

const { App } = require('./lib/app');
const { runClient } = require('./lib/client');
const { chooseContestants } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe, print, textTable, writeResults } = require('./lib/report');
const { interleave } = require('./lib/rounds');
const { median, percentile } = require('./lib/stats');
const { printTargets } = require('./lib/targets');

/** Seconds before the time that counts. */
const WARMUP = 1;

run(async () => {
  const options = readOptions('Latency of short requests among long ones.', {
    workers: { ...flags.workers, default: 4 },
    rate: { ...flags.rate, default: 250 },
    slow: { default: 20, help: 'every so many requests a long one' },
    duration: { default: 4, help: 'seconds that count in each round' },
    rounds: { ...flags.rounds, default: 3 },
    timeout: flags.timeout,
    only: flags.only,
    seed: flags.seed,
    check: flags.check,
  });
  const chosen = chooseContestants(options.only, [
    'builtin-rr',
    'round-robin',
    'least-connections',
    'least-loaded',
  ]);
  const machine = circumstances();
  print(describe(machine));
  const { rate, slow, rounds, seed } = options;
  print(`${rate} connections/s, one in ${slow} takes 100 ms, ${rounds} rounds, seed ${seed}`);

  const results = await interleave(chosen, options, async (contestant, round) => {
    const sample = await measure(contestant, options);
    print(
      `round ${round}  ${contestant.id.padEnd(18)}  short p99 ${sample.shortP99.toFixed(1)}, all p99 ${sample.p99.toFixed(1)} ms`,
    );
    return sample;
  });
  print('\nMedians of the rounds, in ms');
  const rows = results.map(({ contestant, samples }) => [
    contestant.label,
    ...columns.map((column) => median(samples.map((sample) => sample[column])).toFixed(1)),
    String(samples.reduce((total, { failed }) => total + failed, 0)),
  ]);
  print(textTable(['', ...columns, 'failed'], rows));
  print(`\neverything: ${writeResults('mixed', { machine, options, results })}`);
  if (options.check) {
    const of = (/** @type {string} */ id) => results.find(({ contestant }) => contestant.id === id)?.samples;
    const base = of('builtin-rr');
    const ratios = of('least-loaded')?.map(({ shortP99 }, i) => (base?.[i].shortP99 ?? NaN) / shortP99);
    printTargets([
      { name: 'p99 of short requests, built-in ÷ least loaded', value: ratios && median(ratios), atLeast: 2 },
    ]);
  }
});

const columns = /** @type {const} */ (['shortP50', 'shortP99', 'p50', 'p99']);

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, rate: number, slow: number, duration: number, timeout: number }} options
 */
async function measure(contestant, { workers, rate, slow, duration, timeout }) {
  const app = await App.start(contestant, { workers, env: { BENCH_WORK: '1' } });
  const { records } = await runClient({
    mode: 'open',
    port: app.port,
    rate,
    seconds: WARMUP + duration,
    timeoutMs: timeout * 1000,
    slowEvery: slow,
  });
  await app.stop();
  const first = Math.min(...records.map(({ at }) => at));
  const counted = records.filter(({ at }) => at >= first + WARMUP * 1000);
  const all = counted.map(({ latency }) => latency);
  const short = counted.filter(({ path }) => path === '/').map(({ latency }) => latency);
  return {
    shortP50: percentile(short, 50),
    shortP99: percentile(short, 99),
    p50: percentile(all, 50),
    p99: percentile(all, 99),
    failed: counted.filter(({ outcome }) => outcome !== 'ok').length,
  };
}
