'use strict';

/**
 * What clients notice when one worker's event loop stands still again and again: new connections at a steady rate, one
 * of the workers blocked for 300 ms in every 600. The clients that count are those whom another worker answered: that
 * the blocked one keeps those whom it has already begun to serve nobody can help.
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
  const options = readOptions('Latency while one worker is blocked again and again.', {
    workers: { ...flags.workers, default: 4 },
    rate: flags.rate,
    block: { default: 300, help: 'milliseconds for which the worker stands still' },
    every: { default: 600, help: 'milliseconds from one time to the next' },
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
    'sticky',
  ]);
  const machine = circumstances();
  print(describe(machine));
  const { rate, block, every, rounds, seed } = options;
  print(
    `${rate} connections/s, one worker blocked ${block} ms every ${every} ms, ${rounds} rounds, seed ${seed}`,
  );

  const results = await interleave(chosen, options, async (contestant, round) => {
    const sample = await measure(contestant, options);
    const { othersP999, allP999 } = sample;
    print(
      `round ${round}  ${contestant.id.padEnd(18)}  p99.9 of others ${othersP999.toFixed(1)}, of all ${allP999.toFixed(1)} ms`,
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
  print(`\neverything: ${writeResults('hostage', { machine, options, results })}`);
  if (options.check) {
    const of = (/** @type {string} */ id) => results.find(({ contestant }) => contestant.id === id)?.samples;
    const base = of('builtin-rr');
    printTargets(
      ['round-robin', 'least-connections', 'least-loaded'].flatMap((id) => {
        const own = of(id);
        return [
          {
            name: `${id}: p99.9 of the others' clients, ms`,
            value: own && median(own.map(({ othersP999 }) => othersP999)),
            atMost: 60,
          },
          {
            name: `${id}: the same ÷ the built-in's p99.9`,
            value: own && median(own.map(({ othersP999 }, i) => othersP999 / (base?.[i].allP999 ?? NaN))),
            atMost: 1 / 4,
          },
        ];
      }),
    );
  }
});

const columns = /** @type {const} */ (['othersP99', 'othersP999', 'allP99', 'allP999']);

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, rate: number, block: number, every: number, duration: number, timeout: number }} options
 */
async function measure(contestant, { workers, rate, block, every, duration, timeout }) {
  const app = await App.start(contestant, { workers, env: { BENCH_NAMES: '1' } });
  const { pid } = await app.ask('stallOne', { ms: block, every });
  const { records } = await runClient({
    mode: 'open',
    port: app.port,
    rate,
    seconds: WARMUP + duration,
    timeoutMs: timeout * 1000,
  });
  await app.stop();
  const first = Math.min(...records.map(({ at }) => at));
  const counted = records.filter(({ at }) => at >= first + WARMUP * 1000);
  const all = counted.map(({ latency }) => latency);
  const others = counted.filter(({ worker }) => worker !== String(pid)).map(({ latency }) => latency);
  return {
    othersP99: percentile(others, 99),
    othersP999: percentile(others, 99.9),
    allP99: percentile(all, 99),
    allP999: percentile(all, 99.9),
    failed: counted.filter(({ outcome }) => outcome !== 'ok').length,
  };
}
