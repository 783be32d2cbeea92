'use strict';

/**
 * The cost of passing a connection for the dispatcher's thread, compared with the minimum cost: a loop
 * of bare system calls in Rust.
 *
 * Everything except the passing thread is the same: the receivers are minimal processes that use the worker's
 * half of rcluster's code, the messages have the same bytes, and the clients arrive at the same moments.
 *
 * There are two such loops. `bare` waits in accept4 and serves one socket only; `polled` waits in epoll_wait,
 * as any program must that has several sockets or receives commands. Neither knows whether a receiver has
 * room, is alive, or will ever receive the connection.
 *
 * There are two loads, because the cost of a connection depends on how many arrive at once. `steady` is an
 * open loop far below the capacity of the machine: nearly every connection wakes the thread and a receiver.
 * `full` is a closed loop, in which connections arrive in batches.
 */

const { chooseLoadClients } = require('./lib/load');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { Passing, buildPassing, keptUp } = require('./lib/passing');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave, samplesOf } = require('./lib/rounds');
const { behind, publish } = require('./lib/section');
const { median, sum } = require('../testing/stats.js');

/** @typedef {import('./lib/passing').Way} Way */
/** @typedef {{ perSecond: number, cpu: number, perWake: number, p50: number, p99: number, answered: number, failed: number, late: number }} Sample */

/** @type {readonly { id: Way, label: string }[]} */
const ways = [
  { id: 'bare', label: 'bare loop, accept4' },
  { id: 'polled', label: 'bare loop, epoll_wait' },
  { id: 'rcluster', label: "rcluster's dispatcher" },
];

run(async () => {
  const options = readOptions('The CPU time of passing a connection, against a loop of bare system calls.', {
    workers: { ...flags.workers, default: 4 },
    clients: flags.clients,
    rate: { ...flags.rate, default: 3000 },
    duration: { default: 3, help: 'seconds of each measurement' },
    rounds: flags.rounds,
    seed: flags.seed,
    check: flags.check,
  });
  const program = buildPassing();
  const client = chooseLoadClients().close;
  const machine = circumstances();
  print(describe(machine));
  const { workers, clients, rate, duration, rounds, seed } = options;
  print(
    `${workers} receivers, ${rate} connections/s or ${clients} clients of ${client.name}, ${rounds} rounds`,
  );

  /** @type {Record<string, (passing: import('./lib/passing').Passing, round: number, seconds: number) => Promise<Sample>>} */
  const loads = {
    async steady(passing, round, seconds) {
      const load = { rate, seconds, seed: seed + round };
      const { result, cpu, wakes } = await passing.during(() => passing.connect(load));
      const { answered, elapsed } = result;
      return { ...result, perSecond: answered / elapsed, cpu: cpu / answered, perWake: answered / wakes };
    },
    async full(passing, _round, seconds) {
      const load = /** @type {const} */ ({ scenario: 'close', port: passing.ports[0], clients, seconds });
      const { result, cpu, wakes } = await passing.during(() => client.run(load));
      const { requests, requestsPerSecond: perSecond, p50, p99, errors: failed } = result;
      const each = { cpu: cpu / requests, perWake: requests / wakes };
      return { perSecond, ...each, p50, p99, answered: requests, failed, late: 0 };
    },
  };
  /** @type {{ load: string, measured: { contestant: { id: string }, samples: Sample[] }[] }[]} */
  const results = [];
  for (const [name, load] of Object.entries(loads)) {
    const measured = await interleave(/** @type {any} */ (ways), options, async ({ id }, round) => {
      const passing = await Passing.start(program, /** @type {Way} */ (id), { workers, listeners: 1 });
      await load(passing, 0, 1);
      const sample = await load(passing, round, duration);
      await passing.stop();
      print(`round ${round}  ${name.padEnd(6)}  ${id.padEnd(8)}  ${sample.cpu.toFixed(2)} µs of CPU`);
      return sample;
    });
    results.push({ load: name, measured });
  }

  /** @param {string} load @param {string} id */
  const of = (load, id) =>
    samplesOf(results.find((result) => result.load === load)?.measured ?? [], id) ?? [];
  /** The median of the ratios of those rounds that are comparable. @param {string} load @param {string} id */
  const overBare = (load, id) => {
    const bare = of(load, 'bare');
    const comparable = of(load, id).map((sample, i) => /** @type {const} */ ([sample, bare[i]]));
    return median(comparable.filter((pair) => pair.every(keptUp)).map(([own, other]) => own.cpu / other.cpu));
  };
  const titles = {
    steady: `Steady: ${rate} connections/s at random moments`,
    full: `Full: ${clients} clients, each of which reconnects at once (${client.name})`,
  };
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'The cost of passing',
    about:
      `CPU time of the passing thread alone, per connection. The ${workers} receiver processes are the same for all ` +
      'programs, and answer one request per connection. The bare loops only call accept4, sendmsg and close. The first can ' +
      'serve only one socket and receive no commands; the second waits with epoll_wait, as every program with several ' +
      'sockets must. Neither has flow control, or detects a blocked or dead receiver. *Late* connections began more than ' +
      '5 ms after their scheduled time. If more than one in twenty was late, the machine was busy with something else, ' +
      `and the round does not count. Medians of ${rounds} interleaved rounds, ratios within rounds.`,
    tables: Object.entries(titles).map(([load, title]) => ({
      title,
      header: ['', 'CPU µs', '× bare', 'per wake-up', 'connections/s', 'p50 µs', 'p99 µs', 'failed', 'late'],
      rows: ways.map(({ id, label }) => {
        const samples = of(load, id);
        const middle = (/** @type {keyof Sample} */ what, /** @type {number} */ digits) =>
          median(samples.filter(keptUp).map((sample) => sample[what])).toFixed(digits);
        return [
          label,
          middle('cpu', 2),
          overBare(load, id).toFixed(2),
          middle('perWake', 2),
          middle('perSecond', 0),
          middle('p50', 0),
          middle('p99', 0),
          `${sum(samples.map(({ failed }) => failed))}`,
          `${sum(samples.map(({ late }) => late))}`,
        ];
      }),
    })),
    targets: Object.keys(titles).map((load) => ({
      name: `${load}: CPU of the dispatcher per connection, × the bare loop`,
      value: overBare(load, 'rcluster'),
      atMost: 1.25,
    })),
    behind: behind(
      Object.keys(titles).map((load) => ({
        what: `Passing under ${load} load, CPU time of the thread`,
        own: overBare(load, 'rcluster'),
        other: 1,
        than: 'the bare loop with accept4',
        better: 'less',
      })),
    ),
  };
  publish('passing', section, { machine, options, results });
});
