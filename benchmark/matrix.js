'use strict';

/**
 * Whether the dispatcher's cost of passing a connection is independent of the number of workers and
 * listeners.
 *
 * Measured with minimal receivers (see passing.js), not with workers in Node: with 32 of those on a few cores
 * the result would show how Node processes evict each other from the caches. The rate is fixed and far below
 * the capacity of the machine, because under a closed loop more workers cause larger batches, which would
 * distort the figures. A loop of bare system calls runs next to it and shows the share of the kernel.
 */

const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { Passing, buildPassing, keptUp } = require('./lib/passing');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave, samplesOf } = require('./lib/rounds');
const { publish } = require('./lib/section');
const { median, sum } = require('../testing/stats.js');

/** @typedef {Awaited<ReturnType<typeof measure>>} Sample */
/** @typedef {{ id: string, way: import('./lib/passing').Way, workers: number, listeners: number }} Cell */

const WORKERS = [1, 2, 4, 8, 16, 32];
const LISTENERS = [1, 4, 16, 64];
/** The number of workers while the number of listeners varies; otherwise there is one listener. */
const MIDDLE = 4;

const ways = /** @type {const} */ (['polled', 'rcluster']);
const labels = { polled: 'bare loop', rcluster: 'rcluster' };

run(async () => {
  const options = readOptions('The CPU time of passing, by the number of workers and of listeners.', {
    rate: { ...flags.rate, default: 3000 },
    duration: { default: 2, help: 'seconds of each measurement at this rate' },
    full: { default: 1, help: 'seconds of each measurement with as many connections as there can be' },
    rounds: { ...flags.rounds, default: 3 },
    seed: flags.seed,
    check: flags.check,
  });
  const program = buildPassing();
  const machine = circumstances();
  print(describe(machine));
  const { rate, rounds, seed } = options;
  print(`${rate} connections/s, ${rounds} rounds, seed ${seed}`);

  const shapes = [
    ...WORKERS.map((workers) => ({ workers, listeners: 1 })),
    ...LISTENERS.filter((listeners) => listeners > 1).map((listeners) => ({ workers: MIDDLE, listeners })),
  ];
  /** @type {Cell[]} */
  const cells = shapes.flatMap((shape) =>
    ways.map((way) => ({ id: `${way} ${shape.workers}×${shape.listeners}`, way, ...shape })),
  );
  const results = await interleave(/** @type {any} */ (cells), options, async (contestant, round) => {
    const cell = /** @type {Cell} */ (/** @type {unknown} */ (contestant));
    const sample = await measure(program, cell, { ...options, seed: seed + round });
    print(
      `round ${round}  ${cell.id.padEnd(14)}  ${sample.cpu.toFixed(2)} µs of CPU, ${sample.perSecond.toFixed(0)}/s`,
    );
    return sample;
  });

  /** @param {string} way @param {[number, number]} shape workers and listeners @param {keyof Sample} what */
  const figure = (way, [workers, listeners], what) => {
    const id = `${way} ${workers}×${listeners}`;
    const samples = samplesOf(results, id) ?? [];
    return median(samples.filter(keptUp).map((sample) => sample[what]));
  };
  const series = [
    {
      title: `By the number of workers, with one listener`,
      label: 'workers',
      counts: WORKERS,
      at: (/** @type {number} */ n) => /** @type {[number, number]} */ ([n, 1]),
    },
    {
      title: `By the number of listeners, with ${MIDDLE} workers and connections spread over all listeners`,
      label: 'listeners',
      counts: LISTENERS,
      at: (/** @type {number} */ n) => /** @type {[number, number]} */ ([MIDDLE, n]),
    },
  ];
  const all = (/** @type {keyof Sample} */ what) =>
    sum(results.flatMap(({ samples }) => samples.map((s) => s[what])));
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Many workers, many listeners',
    about:
      `CPU time of the dispatcher's thread per connection at ${rate} connections/s, and connections/s with 16 clients ` +
      'that reconnect at once. The workers are minimal programs, so that the figures show the dispatcher and not 32 Node ' +
      'processes on a few cores. The bare loop (epoll_wait, accept4, sendmsg, close) shows how the kernel itself scales. ' +
      `Medians of ${rounds} interleaved rounds. Of all connections at the fixed rate, ${all('failed')} failed and ` +
      `${all('late')} began more than 5 ms after their scheduled time. Measurements in which more than one in twenty was ` +
      'late do not count.',
    tables: series.map(({ title, label, counts, at }) => ({
      title,
      header: [
        label,
        ...ways.flatMap((way) => [`${labels[way]}, CPU µs`, 'per wake-up', 'connections/s']),
        '× bare',
      ],
      rows: counts.map((n) => [
        `${n}`,
        ...ways.flatMap((way) => [
          figure(way, at(n), 'cpu').toFixed(2),
          figure(way, at(n), 'perWake').toFixed(2),
          figure(way, at(n), 'perSecond').toFixed(0),
        ]),
        (figure('rcluster', at(n), 'cpu') / figure('polled', at(n), 'cpu')).toFixed(2),
      ]),
    })),
    targets: series.map(({ label, counts, at }) => ({
      name: `CPU per connection from 1 to ${Math.max(...counts)} ${label}: ± from the middle`,
      value: departure(counts.map((n) => figure('rcluster', at(n), 'cpu'))),
      atMost: 0.15,
    })),
    charts: series.map(({ label, counts, at }) => ({
      kind: 'lines',
      title: `CPU of the passing thread per connection, by ${label}`,
      x: label,
      y: 'µs',
      ticks: counts,
      series: ways.map((way) => ({
        name: labels[way],
        values: counts.map((n) => figure(way, at(n), 'cpu')),
      })),
    })),
  };
  publish('matrix', section, { machine, options, results });
});

/**
 * How far the lowest and the highest value are from the middle between them, as a fraction of it.
 * @param {readonly number[]} values
 */
function departure(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return (most - least) / (most + least);
}

/**
 * @param {string} program
 * @param {Cell} cell
 * @param {{ rate: number, duration: number, full: number, seed: number }} options
 */
async function measure(program, { way, workers, listeners }, { rate, duration, full, seed }) {
  const passing = await Passing.start(program, way, { workers, listeners });
  // Warms up: everything has been done once, and every receiver has been woken.
  const { answered: perSecond } = await passing.connect({ rate: 0, seconds: full, seed });
  const steady = { rate, seconds: duration, seed };
  const { result, cpu, wakes } = await passing.during(() => passing.connect(steady));
  await passing.stop();
  const { answered, failed, late } = result;
  return {
    cpu: cpu / answered,
    perWake: answered / wakes,
    perSecond: perSecond / full,
    failed,
    late,
    answered,
  };
}
