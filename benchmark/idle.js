'use strict';

/**
 * The cost of an idle cluster: memory of the primary and of each listening worker, CPU time of the primary,
 * the time from the first fork() until all workers listen, and the time that loading the module adds to the
 * start of a process. Garbage is collected before memory is read.
 */

const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { performance } = require('node:perf_hooks');
const { setTimeout: delay } = require('node:timers/promises');
const { App } = require('./lib/app');
const { chooseContestants } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { activity, cpuBetween, memory, threadTimes } = require('../testing/proc.js');
const { createRandom, shuffle } = require('../testing/random.js');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave } = require('./lib/rounds');
const { publish } = require('./lib/section');
const { median, summarise } = require('../testing/stats.js');

/** Seconds after the start in which V8 still collects garbage of the start. */
const SETTLE = 10;
const EMPTY = 'nothing';

const columns = /** @type {const} */ (['rss', 'pss', 'workerPss', 'ticks', 'cpu', 'switches', 'took']);

run(async () => {
  const options = readOptions('Memory and CPU time of an idle cluster, and time to load the module.', {
    workers: flags.workers,
    seconds: { default: 5, help: 'seconds for which an idle cluster is watched' },
    processes: { default: 60, help: 'fresh processes in which each module is loaded' },
    rounds: flags.rounds,
    only: flags.only,
    seed: flags.seed,
    check: flags.check,
  });
  const chosen = chooseContestants(options.only, ['builtin-rr', 'rcluster']);
  const machine = circumstances();
  print(describe(machine));
  print(`${options.workers} workers, ${options.rounds} rounds of ${options.seconds} s, seed ${options.seed}`);

  const results = await interleave(chosen, options, (contestant) => measureIdle(contestant, options));
  const idle = results.map(({ contestant, samples }) => ({
    id: contestant.id,
    label: contestant.label,
    figures: /** @type {Record<typeof columns[number], import('../testing/stats.js').Summary>} */ (
      Object.fromEntries(
        columns.map((column) => [column, summarise(samples.map((sample) => sample[column]))]),
      )
    ),
  }));
  const loading = measureLoading(chosen, options);
  const own = idle.find(({ id }) => id === 'rcluster')?.figures;
  const builtin = idle.find(({ id }) => id === 'builtin-rr')?.figures;
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'An idle cluster',
    about:
      `A cluster with ${options.workers} workers to which nobody connects: the memory of its primary and of one worker in ` +
      `KiB after a garbage collection, and, in ${options.seconds} s, the primary's CPU time and how often it was woken; ` +
      'and the time from the first fork() until all workers were listening, in ms. ' +
      `Medians, and lowest–highest of ${options.rounds} rounds.`,
    tables: [
      {
        header: ['', 'RSS', 'PSS', 'PSS of a worker', 'CPU ticks', 'CPU µs', 'wake-ups', 'all listening'],
        rows: idle.map(({ label, figures }) => [
          label,
          ...columns.map((column) => range(figures[column], 0)),
        ]),
      },
      {
        title: `Loading the module, ms, in ${options.processes} fresh processes each`,
        header: ['', 'require()', 'whole process', 'more than an empty script'],
        rows: loading.map(({ name, inside, whole, added }) => [
          name,
          range(inside, 2),
          range(whole, 1),
          added.toFixed(2),
        ]),
      },
    ],
    targets: [
      {
        name: 'memory of the idle primary (PSS) more than the built-in takes, MiB',
        value: own && builtin ? (own.pss.median - builtin.pss.median) / 1024 : undefined,
        atMost: 2.5,
      },
      {
        name: 'memory of an idle worker (PSS) more than the built-in takes, MiB',
        value: own && builtin ? (own.workerPss.median - builtin.workerPss.median) / 1024 : undefined,
        atMost: 2,
      },
      {
        name: 'from the first fork() until all workers are listening, × the built-in',
        value: own && builtin ? own.took.median / builtin.took.median : undefined,
        atMost: 1.05,
      },
      { name: 'CPU ticks of the idle primary', value: own?.ticks.median, atMost: 0 },
      {
        name: 'require(), ms',
        value: loading.find(({ name }) => name === 'rcluster')?.inside.median,
        atMost: 5,
      },
    ],
  };
  publish('idle', section, { machine, options, idle, loading, results });
});

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, seconds: number }} options
 */
async function measureIdle(contestant, { workers, seconds }) {
  const app = await App.start(contestant, { workers, execArgv: ['--expose-gc'] });
  const { pid, took } = app;
  await app.ask('report', { collect: true });
  await delay(SETTLE * 1000);
  const [times, before] = [threadTimes(pid), activity(pid)];
  await delay(seconds * 1000);
  const [cpu, after] = [cpuBetween(times, threadTimes(pid)), activity(pid)];
  const { rss, pss } = memory(pid);
  const workerPss = median(app.pids.map((worker) => memory(worker).pss));
  await app.stop();
  return {
    rss,
    pss,
    workerPss,
    took,
    ticks: after.ticks - before.ticks,
    switches: after.switches - before.switches,
    cpu: cpu.total,
    cpuByThread: cpu.byThread,
  };
}

/**
 * @param {readonly import('./lib/contestants').Contestant[]} chosen
 * @param {{ processes: number, seed: number }} options
 */
function measureLoading(chosen, { processes, seed }) {
  const random = createRandom(seed);
  const script = path.join(__dirname, 'fixtures', 'load-module.js');
  const cases = [
    {
      name: EMPTY,
      args: [script],
      inside: /** @type {number[]} */ ([]),
      whole: /** @type {number[]} */ ([]),
    },
    ...chosen.map(({ id, module }) => ({
      name: id,
      args: [script, module],
      inside: /** @type {number[]} */ ([]),
      whole: /** @type {number[]} */ ([]),
    })),
  ];
  for (let i = 0; i < processes; i++) {
    for (const { args, inside, whole } of shuffle(cases, random)) {
      const start = performance.now();
      const { status, stdout, stderr, error } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      whole.push(performance.now() - start);
      if (error) throw error;
      if (status !== 0) throw new Error(stderr);
      inside.push(Number(stdout));
    }
  }
  const summaries = cases.map(({ name, inside, whole }) => ({
    name,
    inside: summarise(inside),
    whole: summarise(whole),
  }));
  return summaries.map((row) => ({ ...row, added: row.whole.median - summaries[0].whole.median }));
}

/**
 * @param {import('../testing/stats.js').Summary} summary
 * @param {number} digits
 */
function range({ median, min, max }, digits) {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}
