'use strict';

/**
 * The effect on clients when one worker's event loop is blocked repeatedly: new connections at a steady rate,
 * one worker blocked for 300 ms in every 600. Only clients that another worker answered are counted, because
 * no policy can help those that the blocked worker has begun to serve.
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
  const options = readOptions('Latency while one worker is blocked again and again.', {
    workers: { ...flags.workers, default: 4 },
    rate: flags.rate,
    block: { default: 300, help: 'milliseconds for which the worker is blocked' },
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
  const { workers, rate, block, every, rounds, seed } = options;
  const setting = `${rate} connections/s to ${workers} workers, one of which is blocked ${block} ms every ${every} ms`;
  print(`${setting}, ${rounds} rounds, seed ${seed}`);

  const results = await interleave(chosen, options, async (contestant, round) => {
    const sample = await measure(contestant, options);
    const { othersP999, allP999 } = sample;
    print(
      `round ${round}  ${contestant.id.padEnd(18)}  p99.9 of others ${othersP999.toFixed(1)}, of all ${allP999.toFixed(1)} ms`,
    );
    return sample;
  });
  const of = (/** @type {string} */ id) => samplesOf(results, id);
  const base = of('builtin-rr');
  const overBase = (/** @type {Sample} */ { othersP999 }, /** @type {number} */ round) =>
    othersP999 / (base?.[round].allP999 ?? NaN);
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'One blocked worker',
    about:
      `${setting}. *Others* are the clients that another worker answered, including those that were in flight to the ` +
      "blocked worker before. *× built-in* is their p99.9 divided by that of all clients of the built-in's round robin, in " +
      'the same round. Clients that the blocked worker had already received have to wait for it. ' +
      `Medians of ${rounds} rounds.`,
    tables: [
      latencyTable(results, [
        ['others p99', ({ othersP99 }) => othersP99, 1],
        ['others p99.9', ({ othersP999 }) => othersP999, 1],
        ['× built-in', overBase, 2],
        ['all p99', ({ allP99 }) => allP99, 1],
        ['all p99.9', ({ allP999 }) => allP999, 1],
      ]),
    ],
    targets: ['round-robin', 'least-connections', 'least-loaded'].flatMap((id) => {
      const own = of(id);
      return [
        {
          name: `${id}: p99.9 of the others' clients, ms`,
          value: own && median(own.map(({ othersP999 }) => othersP999)),
          atMost: 60,
        },
        {
          name: `${id}: the same ÷ the built-in's p99.9`,
          value: own && median(own.map(overBase)),
          atMost: 1 / 4,
        },
      ];
    }),
  };
  const overOthers = (/** @type {Sample} */ { othersP999 }, /** @type {number} */ round) =>
    othersP999 / (base?.[round].othersP999 ?? NaN);
  section.behind = behind(
    results
      .filter(({ contestant }) => !isBuiltin(contestant))
      .flatMap(({ contestant: { id }, samples }) =>
        /** @type {const} */ ([
          [overBase, 'the p99.9 of all clients of the built-in round robin'],
          [overOthers, "that of the built-in's other clients"],
        ]).map(([over, than]) => ({
          what: `One blocked worker, \`${id}\`, p99.9 of the others' clients`,
          own: median(samples.map(over)),
          other: 1,
          than,
          better: /** @type {const} */ ('less'),
        })),
      ),
  );
  publish('blocked', section, { machine, options, results });
});

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, rate: number, block: number, every: number, duration: number, timeout: number }} options
 */
async function measure(contestant, options) {
  const { records, failed, prepared } = await steadyLoad(contestant, options, {
    env: { BENCH_NAMES: '1' },
    prepare: (app) => app.ask('blockOne', { ms: options.block, every: options.every }),
  });
  const others = records.filter(({ worker }) => worker !== String(prepared.pid));
  return {
    othersP99: latency(others, 99),
    othersP999: latency(others, 99.9),
    allP99: latency(records, 99),
    allP999: latency(records, 99.9),
    failed,
  };
}
