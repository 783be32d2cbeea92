'use strict';

/** Messages between primary and worker, and sockets sent with them, per second. */

const { App } = require('./lib/app');
const { chooseContestants } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { cpuBetween, threadTimes } = require('../testing/proc.js');
const { interleave } = require('./lib/rounds');
const { behind, publish } = require('./lib/section');
const { median, sum, summarise } = require('../testing/stats.js');

const WORKERS = 2;
const LARGE = 10_000_000;

/**
 * A measurement, made by a command of fixtures/messenger.js.
 * @typedef {{
 *   name: string,
 *   serialization: 'json' | 'advanced',
 *   cmd: 'echo' | 'broadcast' | 'handles',
 *   details: object,
 *   atLeast: number,
 * }} Case
 */

/** Echoes, or sockets, a second, and how many µs of CPU one takes in all processes. @typedef {{ rate: number, cpu: number }} Sample */

run(async () => {
  const options = readOptions('Messages between primary and worker, and sockets sent with them.', {
    ms: { default: 200, help: 'milliseconds for which each kind of message is exchanged, in each round' },
    sockets: { default: 500, help: 'sockets sent in a row, in each round' },
    rounds: { ...flags.rounds, default: 9 },
    cases: { default: '', help: 'only the cases whose name contains this' },
    only: flags.only,
    seed: flags.seed,
    check: flags.check,
  });
  const chosen = chooseContestants(options.only, ['builtin-rr', 'rcluster']);
  const cases = allCases(options).filter(({ name }) => name.includes(options.cases));
  if (cases.length === 0) throw new Error(`no case has '${options.cases}' in its name`);
  const machine = circumstances();
  print(describe(machine));
  print(`${cases.length} cases, ${options.rounds} rounds, seed ${options.seed}`);

  /** Two clusters of each contestant, which are idle between their turns, so that rounds can be short. */
  /** @type {Map<string, App>} */
  const apps = new Map();
  const serializations = [...new Set(cases.map(({ serialization }) => serialization))];
  for (const contestant of chosen) {
    for (const serialization of serializations) {
      const app = await App.start(contestant, {
        fixture: 'messenger.js',
        workers: WORKERS,
        env: { BENCH_SERIALIZATION: serialization },
      });
      apps.set(`${contestant.id} ${serialization}`, app);
    }
  }
  /**
   * @param {string} id
   * @param {Case} one
   * @returns {Promise<Sample>}
   */
  const measure = async (id, { serialization, cmd, details }) => {
    const app = /** @type {App} */ (apps.get(`${id} ${serialization}`));
    const pids = [app.pid, ...app.pids];
    const before = pids.map(threadTimes);
    const { rate, count } = await app.ask(cmd, details);
    const cpu = sum(pids.map((pid, i) => cpuBetween(before[i], threadTimes(pid)).total));
    return { rate, cpu: cpu / count };
  };

  const results = [];
  for (const [i, one] of cases.entries()) {
    // Warms up: code is compiled and memory allocated before the measurements.
    for (const { id } of chosen) await measure(id, one);
    const measured = await interleave(chosen, { ...options, seed: options.seed + i }, ({ id }) =>
      measure(id, one),
    );
    /** @type {Record<string, Sample[]>} */
    const samples = Object.fromEntries(measured.map((each) => [each.contestant.id, each.samples]));
    const ratios = {
      rate: compare(samples, ({ rate }) => rate),
      cpu: compare(samples, ({ cpu }) => cpu),
    };
    results.push({ ...one, samples, ratios });
  }
  for (const app of apps.values()) await app.stop();

  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Messages',
    about:
      'Echoed messages, or sent sockets, per second: the median of the rounds, with the lowest and the highest; and the CPU ' +
      'time of all processes for each, in µs. The *window* is the number of messages that are in flight to a worker at a ' +
      'time. A *broadcast* sends that many messages in a row to both workers. ' +
      `${options.rounds} interleaved rounds, ratios within rounds.`,
    tables: [
      {
        header: ['', ...chosen.flatMap(({ label }) => [label, 'CPU']), 'rate ×', 'CPU ×'],
        rows: results.map(({ name, samples, ratios }) => [
          name,
          ...chosen.flatMap(({ id }) => [
            range(samples[id].map(({ rate }) => rate)),
            median(samples[id].map(({ cpu }) => cpu)).toFixed(1),
          ]),
          ratios.rate.toFixed(2),
          ratios.cpu.toFixed(2),
        ]),
      },
    ],
    targets: results.map(({ name, ratios, atLeast }) => ({
      name: `${name}, × the built-in`,
      value: ratios.rate,
      atLeast,
    })),
    behind: behind(
      results.flatMap(({ name, ratios }) => [
        { what: `Messages, ${name}, rate`, own: ratios.rate, other: 1, than: 'the built-in', better: 'more' },
        {
          what: `Messages, ${name}, CPU time`,
          own: ratios.cpu,
          other: 1,
          than: 'the built-in',
          better: 'less',
        },
      ]),
    ),
  };
  publish('messages', section, { machine, options, results });
  if (options.check && results.some(({ ratios, atLeast }) => ratios.rate < atLeast)) process.exitCode = 1;
});

/**
 * The median of the rounds' ratios: the two measurements of a round ran next to each other, so that other load on the machine
 * affects them less than between rounds.
 * @param {Record<string, Sample[]>} samples
 * @param {(sample: Sample) => number} figure
 * @returns {number} NaN if one of the two did not run
 */
function compare({ rcluster = [], 'builtin-rr': builtin = [] }, figure) {
  return median(rcluster.flatMap((own, i) => (i < builtin.length ? figure(own) / figure(builtin[i]) : [])));
}

/**
 * @param {{ ms: number, sockets: number }} options
 * @returns {Case[]}
 */
function allCases({ ms, sockets }) {
  /** @type {Case[]} */
  const cases = [];
  for (const serialization of /** @type {const} */ (['json', 'advanced'])) {
    for (const kind of ['string', 'object']) {
      const what = `${serialization}, ${kind}`;
      const one = { serialization, cmd: /** @type {const} */ ('echo') };
      const all = { serialization, cmd: /** @type {const} */ ('broadcast') };
      cases.push(
        { ...one, name: `${what}: window 1`, details: { ms, kind, window: 1 }, atLeast: 1 },
        { ...one, name: `${what}: window 64`, details: { ms, kind, window: 64 }, atLeast: 1.3 },
        { ...all, name: `${what}: broadcast of 1`, details: { ms, kind, sends: 1 }, atLeast: 1 },
        { ...all, name: `${what}: broadcast of 10`, details: { ms, kind, sends: 10 }, atLeast: 1 },
      );
    }
    cases.push(
      {
        name: `${serialization}: 10 MB`,
        serialization,
        cmd: 'echo',
        details: { ms, kind: 'large', bytes: LARGE, window: 1 },
        atLeast: 1,
      },
      { name: `${serialization}: sockets`, serialization, cmd: 'handles', details: { sockets }, atLeast: 2 },
    );
  }
  return cases;
}

/** @param {number[]} rates */
function range(rates) {
  const { median: middle, min, max } = summarise(rates);
  return `${middle.toFixed(0)} (${min.toFixed(0)}–${max.toFixed(0)})`;
}
