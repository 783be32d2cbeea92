'use strict';

/**
 * Throughput, latency, balance and CPU time of rcluster and of the built-in cluster, side by side.
 *
 * Every round runs every contestant once, in a different order each time, so that other load on the machine
 * affects all of them alike. Ratios are computed within a round, and then their median: both sides of a ratio
 * met the same circumstances.
 */

const { chooseContestants } = require('./lib/contestants');
const { chooseLoadClients } = require('./lib/load');
const { run } = require('./lib/main');
const { measure } = require('./lib/measure');
const { flags, readOptions } = require('./lib/options');
const { createRandom, shuffle } = require('../testing/random.js');
const { circumstances, describe } = require('./lib/report');
const { textTable, print } = require('../testing/tables.js');
const { behind, publish } = require('./lib/section');
const { median, summarise } = require('../testing/stats.js');

/** @typedef {import('./lib/measure').Sample} Sample */
/** @typedef {import('../testing/stats.js').Summary} Summary */

const BASE = 'builtin-rr';

/** @type {Record<import('./lib/load').Scenario, { title: string, unit: string }>} */
const scenarios = {
  close: { title: 'New connection for every request', unit: 'connection' },
  keepalive: { title: 'Keep-alive', unit: 'request' },
};

/** What is summarised of each sample. @type {Record<string, (sample: Sample) => number>} */
const measures = {
  requestsPerSecond: (sample) => sample.requestsPerSecond,
  p50: (sample) => sample.p50,
  p99: (sample) => sample.p99,
  spread: (sample) => sample.spread,
  cpuPrimary: (sample) => sample.cpu.primary,
  cpuWorkers: (sample) => sample.cpu.workers,
  cpuTotal: (sample) => sample.cpu.total,
};

run(async () => {
  const options = readOptions(
    'Throughput, latency, balance and CPU time, rcluster against the built-in cluster.',
    {
      workers: flags.workers,
      clients: flags.clients,
      duration: { default: 5, help: 'seconds of each measurement' },
      warmup: { default: 2, help: 'seconds of load before each measurement' },
      rounds: flags.rounds,
      scenario: { default: 'close,keepalive', help: 'scenarios to run, comma-separated' },
      only: flags.only,
      seed: flags.seed,
      check: flags.check,
    },
  );
  const chosen = chooseContestants(options.only);
  const chosenScenarios = chooseScenarios(options.scenario);
  const clients = chooseLoadClients();
  const machine = circumstances();
  if (clients.warning) print(`${clients.warning}\n`);
  print(describe(machine));
  print(`load: ${chosenScenarios.map((scenario) => `${scenario} by ${clients[scenario].name}`).join(', ')}`);
  print(
    `${options.workers} workers, ${options.clients} clients, ${options.rounds} rounds, seed ${options.seed}`,
  );

  const random = createRandom(options.seed);
  /** @type {Sample[]} */
  const samples = [];
  for (let round = 1; round <= options.rounds; round++) {
    for (const scenario of chosenScenarios) {
      for (const contestant of shuffle(chosen, random)) {
        const sample = await measure(contestant, { ...options, round, scenario }, clients[scenario]);
        samples.push(sample);
        print(progress(sample));
      }
    }
  }

  const tables = chosenScenarios.map((scenario) => {
    const ofScenario = samples.filter((sample) => sample.scenario === scenario);
    return { scenario, ...scenarios[scenario], contestants: summariseAll(chosen, ofScenario) };
  });
  for (const { title, unit, contestants } of tables) {
    print(`\n${title} (medians, and lowest–highest of ${options.rounds} rounds)`);
    print(textTable(...rows(contestants, unit, true)));
  }
  const { rounds, workers, clients: concurrent } = options;
  const names = [...new Set(chosenScenarios.map((scenario) => clients[scenario].name))].join(' and ');
  const setting = `Medians of ${rounds} interleaved rounds, ${workers} workers, ${concurrent} clients, load by ${names}.`;
  const section = {
    title: 'rcluster and the built-in',
    about:
      'A small HTTP response, with a new connection for every request and with keep-alive. *Spread* is the largest number ' +
      'of connections of a worker divided by the smallest. The kernel measures the CPU times of the processes. ' +
      setting,
    tables: tables.map(({ title, unit, contestants }) => {
      const [header, body] = rows(contestants, unit, false);
      return { title, header, rows: body };
    }),
    targets: targets(tables),
    behind: tables.flatMap(({ title, contestants }) => comparisons(title, contestants)),
  };
  publish('run', section, { machine, options, loadClients: clients, summary: tables, samples });
  const failed = samples.filter(({ errors }) => errors > 0);
  for (const { contestant, scenario, round, errors } of failed) {
    print(`${errors} requests failed: ${contestant}, ${scenario}, round ${round}`);
  }
  if (failed.length > 0) process.exitCode = 1;
});

/**
 * @param {string} names
 * @returns {import('./lib/load').Scenario[]}
 */
function chooseScenarios(names) {
  return names.split(',').map((name) => {
    const scenario = name.trim();
    if (scenario !== 'close' && scenario !== 'keepalive') throw new Error(`no scenario '${scenario}'`);
    return scenario;
  });
}

/**
 * @param {readonly import('./lib/contestants').Contestant[]} chosen
 * @param {readonly Sample[]} samples of one scenario
 */
function summariseAll(chosen, samples) {
  return chosen.map(({ id, label }) => {
    const own = samples.filter((sample) => sample.contestant === id);
    const figures = Object.entries(measures).map(([name, read]) => [name, summarise(own.map(read))]);
    return {
      id,
      label,
      errors: own.reduce((total, { errors }) => total + errors, 0),
      figures: /** @type {Record<keyof typeof measures, Summary>} */ (Object.fromEntries(figures)),
      ratios: Object.fromEntries(
        chosen.map((other) => [
          other.id,
          Object.fromEntries(
            Object.entries(measures).map(([name, read]) => [name, ratio(samples, id, other.id, read)]),
          ),
        ]),
      ),
    };
  });
}

/**
 * The median over the rounds of one contestant's figure divided by the other's in the same round.
 * @param {readonly Sample[]} samples
 * @param {string} id
 * @param {string} otherId
 * @param {(sample: Sample) => number} read
 */
function ratio(samples, id, otherId, read) {
  const own = samples.filter(({ contestant }) => contestant === id);
  const others = samples.filter(({ contestant }) => contestant === otherId);
  const ofRounds = own.map((sample) => {
    const other = others.find(({ round }) => round === sample.round);
    return other ? read(sample) / read(other) : NaN;
  });
  return median(ofRounds);
}

/** @typedef {ReturnType<typeof summariseAll>} Summaries */

/**
 * @param {Summaries} contestants
 * @param {string} unit
 * @param {boolean} ranges whether to show the lowest and highest too
 * @returns {[string[], string[][]]}
 */
function rows(contestants, unit, ranges) {
  const header = [
    `per ${unit}, CPU in µs`,
    'requests/s',
    '× round robin',
    'p50 ms',
    'p99 ms',
    'spread',
    'CPU primary',
    'CPU workers',
    'CPU total',
  ];
  const cell = (/** @type {Summary} */ { median, min, max }, /** @type {number} */ digits, scale = 1) => {
    const show = (/** @type {number} */ value) =>
      Number.isFinite(value) ? (value / scale).toFixed(digits) : '∞';
    return ranges ? `${show(median)} (${show(min)}–${show(max)})` : show(median);
  };
  const body = contestants.map(({ label, figures, ratios }) => [
    label,
    cell(figures.requestsPerSecond, 0),
    ratios[BASE] ? ratios[BASE].requestsPerSecond.toFixed(2) : '–',
    cell(figures.p50, 2, 1000),
    cell(figures.p99, 2, 1000),
    cell(figures.spread, 3),
    cell(figures.cpuPrimary, 1),
    cell(figures.cpuWorkers, 1),
    cell(figures.cpuTotal, 1),
  ]);
  return [header, body];
}

/** @param {Sample} sample */
function progress({ round, scenario, contestant, requestsPerSecond, p50, p99, spread, cpu, errors }) {
  const cells = [
    `round ${round}`,
    scenario.padEnd(9),
    contestant.padEnd(12),
    `${requestsPerSecond.toFixed(0).padStart(7)}/s`,
    `p50 ${(p50 / 1000).toFixed(2)} p99 ${(p99 / 1000).toFixed(2)} ms`,
    `spread ${spread.toFixed(3)}`,
    `CPU ${cpu.primary.toFixed(1)} + ${cpu.workers.toFixed(1)} µs`,
  ];
  return cells.join('  ') + (errors > 0 ? `  ${errors} FAILED` : '');
}

/**
 * The comparisons in which one of the built-in's policies is better than rcluster.
 * @param {string} title
 * @param {Summaries} contestants
 */
function comparisons(title, contestants) {
  const own = contestants.find(({ id }) => id === 'rcluster');
  const others = contestants.filter(({ id }) => own && id !== 'rcluster');
  return behind(
    others.flatMap(({ id, label: than }) =>
      /** @type {const} */ ([
        ['requests/s', 'requestsPerSecond', 'more'],
        ['p50', 'p50', 'less'],
        ['p99', 'p99', 'less'],
        ['CPU time of all processes', 'cpuTotal', 'less'],
      ]).map(([what, key, better]) => ({
        what: `${title}, ${what}`,
        own: own?.ratios[id][key] ?? NaN,
        other: 1,
        than,
        better,
      })),
    ),
  );
}

/**
 * The targets of the project, with two workers and 64 clients.
 * @param {readonly { scenario: string, contestants: Summaries }[]} tables
 * @returns {import('./lib/targets').Target[]}
 */
function targets(tables) {
  const own = (/** @type {string} */ scenario) =>
    tables.find((table) => table.scenario === scenario)?.contestants.find(({ id }) => id === 'rcluster');
  const close = own('close');
  const keepalive = own('keepalive');
  const rr = close?.ratios[BASE];
  return [
    { name: 'close: throughput, × round robin', value: rr?.requestsPerSecond, atLeast: 1.7 },
    { name: 'close: CPU time of all processes, × round robin', value: rr?.cpuTotal, atMost: 0.45 },
    {
      name: 'close: CPU time of all processes, × SCHED_NONE',
      value: close?.ratios['builtin-none']?.cpuTotal,
      atMost: 1.1,
    },
    {
      name: 'close: CPU time of the primary, µs per connection',
      value: close?.figures.cpuPrimary.median,
      atMost: 5,
    },
    { name: 'close: CPU time of the primary, × round robin', value: rr?.cpuPrimary, atMost: 1 / 7 },
    { name: 'close: spread over the workers (worst round)', value: close?.figures.spread.max, atMost: 1.02 },
    {
      name: 'keepalive: throughput, × round robin',
      value: keepalive?.ratios[BASE]?.requestsPerSecond,
      atLeast: 0.97,
    },
  ];
}
