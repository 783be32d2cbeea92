'use strict';

/**
 * Every policy beside the built-in's two: throughput, latency, balance and CPU time of new connections, in one run.
 */

const { chooseContestants } = require('./lib/contestants');
const { chooseLoadClients } = require('./lib/load');
const { run } = require('./lib/main');
const { measure } = require('./lib/measure');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe, print, textTable, writeResults } = require('./lib/report');
const { interleave } = require('./lib/rounds');
const { median } = require('./lib/stats');
const { printTargets } = require('./lib/targets');

/** @typedef {import('./lib/measure').Sample} Sample */

/** @type {[string, (sample: Sample) => number, number][]} what is shown, where it is, and with how many digits */
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
  print(
    '\nMedians of the rounds; CPU in µs per connection. All clients have one address, so sticky has one worker.',
  );
  const rows = results.map(({ contestant, samples }) => [
    contestant.label,
    ...columns.map(([, read, digits]) => median(samples.map(read)).toFixed(digits)),
  ]);
  print(textTable(['', ...columns.map(([name]) => name)], rows));
  print(`\neverything: ${writeResults('policies', { machine, options, results })}`);
  const of = (/** @type {string} */ id) => results.find(({ contestant }) => contestant.id === id)?.samples;
  const [inTurn, hook] = [of('round-robin'), of('hook')];
  if (inTurn && hook) {
    for (const [what, read] of /** @type {const} */ ([
      ['CPU time of the primary', (/** @type {Sample} */ { cpu }) => cpu.primary],
      ['CPU time of all processes', (/** @type {Sample} */ { cpu }) => cpu.total],
      ['p50', (/** @type {Sample} */ { p50 }) => p50],
    ])) {
      const ratio = median(hook.map((sample, round) => read(sample) / read(inTurn[round])));
      print(`schedule(), ${what}: ${ratio.toFixed(2)} × round robin`);
    }
  }
  if (options.check) {
    const base = of('builtin-none');
    const kernel = of('kernel');
    printTargets([
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
    ]);
  }
});
