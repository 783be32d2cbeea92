'use strict';

/**
 * Requests of very different weight: new connections at a steady rate, most of them 1 ms of work and one in
 * twenty 100 ms, during which the event loop of its worker is blocked. The delay of the short ones behind
 * long ones depends on the balancing. (Work is waiting, see the fixture: the CPUs are not measured.)
 */

const { chooseContestants, isBuiltin } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave, samplesOf } = require('./lib/rounds');
const { behind, publish } = require('./lib/section');
const { median } = require('../testing/stats.js');
const { latency, latencyTable, steadyLoad } = require('./lib/steady');

/** @typedef {Awaited<ReturnType<typeof measure>>} Sample */

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
  const { workers, rate, slow, rounds, seed } = options;
  const setting = `${rate} connections/s to ${workers} workers. One request in ${slow} takes 100 ms, the others 1 ms`;
  print(`${setting}, ${rounds} rounds, seed ${seed}`);

  const results = await interleave(chosen, options, async (contestant, round) => {
    const sample = await measure(contestant, options);
    print(
      `round ${round}  ${contestant.id.padEnd(18)}  short p99 ${sample.shortP99.toFixed(1)}, all p99 ${sample.p99.toFixed(1)} ms`,
    );
    return sample;
  });
  const of = (/** @type {string} */ id) => samplesOf(results, id);
  const base = of('builtin-rr');
  const better = (/** @type {Sample} */ { shortP99 }, /** @type {number} */ round) =>
    (base?.[round].shortP99 ?? NaN) / shortP99;
  const ratios = of('least-loaded')?.map(better);
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Short requests among long ones',
    about:
      `${setting}. A worker's event loop is blocked while it works, so a short request waits if its worker has a long ` +
      "one. *× better* is the built-in's p99 of short requests divided by that of this program. " +
      `Medians of ${rounds} rounds.`,
    tables: [
      latencyTable(results, [
        ['short p50', ({ shortP50 }) => shortP50, 1],
        ['short p99', ({ shortP99 }) => shortP99, 1],
        ['× better', better, 2],
        ['short p99.9', ({ shortP999 }) => shortP999, 1],
        ['all p50', ({ p50 }) => p50, 1],
        ['all p99', ({ p99 }) => p99, 1],
      ]),
    ],
    targets: [
      { name: 'p99 of short requests, built-in ÷ least loaded', value: ratios && median(ratios), atLeast: 2 },
    ],
  };
  section.behind = behind(
    results.map(({ contestant, samples }) => ({
      what: `Short requests among long ones, \`${contestant.id}\`, their p99`,
      own: isBuiltin(contestant) ? NaN : 1 / median(samples.map(better)),
      other: 1,
      than: 'built-in round robin',
      better: 'less',
    })),
  );
  publish('mixed', section, { machine, options, results });
});

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, rate: number, slow: number, duration: number, timeout: number }} options
 */
async function measure(contestant, options) {
  const trouble = { env: { BENCH_WORK: '1' }, slowEvery: options.slow };
  const { records, failed } = await steadyLoad(contestant, options, trouble);
  const short = records.filter(({ path }) => path === '/');
  return {
    shortP50: latency(short, 50),
    shortP99: latency(short, 99),
    shortP999: latency(short, 99.9),
    p50: latency(records, 50),
    p99: latency(records, 99),
    failed,
  };
}
