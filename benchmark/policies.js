'use strict';

/**
 * Every policy next to the built-in's two: throughput, latency, balance and CPU time of new connections, in
 * one run.
 */

const { chooseContestants, isBuiltin } = require('./lib/contestants');
const { chooseLoadClients } = require('./lib/load');
const { run } = require('./lib/main');
const { measure } = require('./lib/measure');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave, samplesOf } = require('./lib/rounds');
const { behind, publish } = require('./lib/section');
const { median } = require('../testing/stats.js');

/** @typedef {import('./lib/measure').Sample} Sample */

/** @type {[string, (sample: Sample) => number, number][]} the header, the value and the number of digits of each column */
const columns = [
  ['requests/s', (sample) => sample.requestsPerSecond, 0],
  ['p50 ms', (sample) => sample.p50 / 1000, 2],
  ['p99 ms', (sample) => sample.p99 / 1000, 2],
  ['spread', (sample) => sample.spread, 3],
  ['CPU primary', (sample) => sample.cpu.primary, 1],
  ['CPU workers', (sample) => sample.cpu.workers, 1],
  ['CPU total', (sample) => sample.cpu.total, 1],
];

run(async () => {
  const options = readOptions('Every policy beside the built-in, a new connection for every request.', {
    workers: { ...flags.workers, default: 4 },
    clients: flags.clients,
    duration: { default: 3, help: 'seconds of each measurement' },
    warmup: { default: 1, help: 'seconds of load before each measurement' },
    rounds: { ...flags.rounds, default: 3 },
    only: flags.only,
    seed: flags.seed,
    check: flags.check,
  });
  const chosen = chooseContestants(options.only, [
    'builtin-rr',
    'builtin-none',
    'round-robin',
    'least-connections',
    'least-loaded',
    'sticky',
    'kernel',
    'hook',
  ]);
  const clients = chooseLoadClients();
  const machine = circumstances();
  if (clients.warning) print(`${clients.warning}\n`);
  print(describe(machine));
  const { workers, rounds, seed } = options;
  print(
    `${workers} workers, ${options.clients} clients, load by ${clients.close.name}, ${rounds} rounds, seed ${seed}`,
  );

  const results = await interleave(chosen, options, async (contestant, round) => {
    const sample = await measure(contestant, { ...options, round, scenario: 'close' }, clients.close);
    const { requestsPerSecond, spread, cpu } = sample;
    print(
      `round ${round}  ${contestant.id.padEnd(18)}  ${requestsPerSecond.toFixed(0)}/s, ` +
        `spread ${spread.toFixed(3)}, CPU ${cpu.total.toFixed(1)} µs`,
    );
    return sample;
  });
  const of = (/** @type {string} */ id) => samplesOf(results, id);
  const base = of('builtin-none');
  const kernel = of('kernel');
  const middle = (/** @type {Sample[]} */ samples, /** @type {(sample: Sample) => number} */ read) =>
    median(samples.map(read));
  const chart = (
    /** @type {string} */ title,
    /** @type {string} */ unit,
    /** @type {(sample: Sample) => number} */ read,
  ) => ({
    kind: /** @type {const} */ ('bars'),
    title,
    unit,
    bars: results.map(({ contestant, samples }) => ({
      name: contestant.label,
      value: middle(samples, read),
      own: !isBuiltin(contestant),
    })),
  });
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Every policy',
    about:
      `A new connection for every request: ${options.clients} clients, ${workers} workers, load by ${clients.close.name}. ` +
      'CPU in µs per connection. All clients have the same address, so `sticky` sends them to one worker; only its CPU time ' +
      `is of interest here. Medians of ${rounds} interleaved rounds.`,
    tables: [
      {
        header: ['', ...columns.map(([name]) => name)],
        rows: results.map(({ contestant, samples }) => [
          contestant.label,
          ...columns.map(([, read, digits]) => middle(samples, read).toFixed(digits)),
        ]),
      },
      ...priceOfHook(of('round-robin'), of('hook')),
    ],
    targets: [
      {
        name: 'kernel: CPU time of all processes, × built-in SCHED_NONE',
        value: kernel && median(kernel.map(({ cpu }, i) => cpu.total / (base?.[i].cpu.total ?? NaN))),
        atMost: 0.97,
      },
      {
        name: 'kernel: spread over the workers',
        value: kernel && median(kernel.map(({ spread }) => spread)),
        atMost: 1.1,
      },
    ],
    behind: behind(
      results
        .filter(({ contestant }) => base && !isBuiltin(contestant))
        .flatMap(({ contestant: { id }, samples }) =>
          /** @type {[string, (sample: Sample) => number, 'more' | 'less'][]} */ ([
            ['requests/s', (sample) => sample.requestsPerSecond, 'more'],
            ['p50', (sample) => sample.p50, 'less'],
            ['p99', (sample) => sample.p99, 'less'],
            ['CPU time of all processes', (sample) => sample.cpu.total, 'less'],
          ]).map(([what, read, better]) => ({
            what: `\`${id}\`, ${what}`,
            own: middle(samples, read),
            other: middle(base ?? [], read),
            than: 'built-in SCHED_NONE',
            better,
          })),
        ),
    ),
    charts: [
      chart(
        'Requests a second, a new connection for each',
        'requests/s',
        (sample) => sample.requestsPerSecond,
      ),
      chart('CPU time of all processes, for each connection', 'µs', (sample) => sample.cpu.total),
    ],
  };
  publish('policies', section, { machine, options, results });
});

/**
 * The cost of a hook in JavaScript: the median of the rounds' ratios, because the two contestants of a round ran
 * next to each other.
 * @param {Sample[] | undefined} inTurn
 * @param {Sample[] | undefined} hook
 * @returns {import('./lib/section').Table[]} none if one of the two did not run
 */
function priceOfHook(inTurn, hook) {
  if (inTurn === undefined || hook === undefined) return [];
  const ratio = (/** @type {(sample: Sample) => number} */ read) =>
    median(hook.map((sample, round) => read(sample) / read(inTurn[round]))).toFixed(2);
  const rows = [
    ['CPU primary', ratio(({ cpu }) => cpu.primary)],
    ['CPU total', ratio(({ cpu }) => cpu.total)],
    ['p50', ratio(({ p50 }) => p50)],
  ];
  return [{ title: 'The cost of a custom function', header: ['', '× round robin'], rows }];
}
