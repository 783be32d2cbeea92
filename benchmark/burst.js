'use strict';

/**
 * Thousands of clients at the same moment, far more than workers can accept at once and a backlog can hold. Every
 * client is accounted for.
 */

const { App } = require('./lib/app');
const { runClient } = require('./lib/client');
const { chooseContestants, isBuiltin } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave, samplesOf } = require('./lib/rounds');
const { behind, publish } = require('./lib/section');
const { median, percentile, sum } = require('../testing/stats.js');

/** @typedef {Awaited<ReturnType<typeof measure>>} Sample */

/** The outcomes of unanswered requests. */
const failures = /** @type {const} */ (['refused', 'reset', 'closed', 'hung']);

run(async () => {
  const options = readOptions('Thousands of clients at once.', {
    workers: flags.workers,
    connections: { default: 5000, help: 'clients that connect at the same moment' },
    rounds: { ...flags.rounds, default: 3 },
    timeout: { ...flags.timeout, default: 20 },
    only: flags.only,
    seed: flags.seed,
    check: flags.check,
  });
  const chosen = chooseContestants(options.only, ['builtin-rr', 'builtin-none', 'rcluster', 'kernel']);
  const machine = circumstances();
  print(describe(machine));
  const { workers, connections, rounds, seed } = options;
  print(`${connections} connections at once to ${workers} workers, ${rounds} rounds, seed ${seed}`);

  const results = await interleave(chosen, options, async (contestant, round) => {
    const sample = await measure(contestant, options);
    const { outcomes, seconds } = sample;
    const told = Object.entries(outcomes).map(([outcome, count]) => `${count} ${outcome}`);
    print(`round ${round}  ${contestant.id.padEnd(14)}  ${told.join(', ')} in ${seconds.toFixed(2)} s`);
    return sample;
  });
  const own = samplesOf(results, 'rcluster');
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Burst',
    about:
      `${connections} clients connect to ${workers} workers at the same moment and send one request each, in ` +
      `${rounds} rounds. Counts are totals of all rounds, times are medians. *Refused*: no process listened. *Reset* and ` +
      `*closed*: the connection broke before the response. *Hung*: no response within ${options.timeout} s. *Unserved*: ` +
      'connections that no worker received. The backlog holds 511 clients. The kernel lets the others try again after a ' +
      'second, so these are the slowest.',
    tables: [
      {
        header: ['', 'answered', ...failures, 'unserved', 'p50 ms', 'p99 ms', 'max ms', 'all done, s'],
        rows: results.map(({ contestant, samples }) => [
          contestant.label,
          ...['ok', ...failures].map((outcome) =>
            String(sum(samples.map(({ outcomes }) => /** @type {any} */ (outcomes)[outcome] ?? 0))),
          ),
          String(sum(samples.map(({ unserved }) => unserved))),
          ...['p50', 'p99', 'max'].map((which) =>
            median(samples.map((sample) => /** @type {any} */ (sample)[which])).toFixed(0),
          ),
          median(samples.map(({ seconds }) => seconds)).toFixed(2),
        ]),
      },
    ],
    targets: [
      {
        name: `connections refused or lost, of ${connections * rounds}`,
        value: own && sum(own.map(({ failed, unserved }) => failed + unserved)),
        atMost: 0,
      },
    ],
  };
  const seconds = (/** @type {Sample[]} */ samples) => median(samples.map(({ seconds }) => seconds));
  section.behind = behind(
    results
      .filter(({ contestant }) => own && isBuiltin(contestant))
      .map(({ contestant, samples }) => ({
        what: 'Burst, time until all are answered',
        own: seconds(own ?? []),
        other: seconds(samples),
        than: contestant.label,
        better: 'less',
      })),
  );
  publish('burst', section, { machine, options, results });
});

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, connections: number, timeout: number }} options
 */
async function measure(contestant, { workers, connections, timeout }) {
  const app = await App.start(contestant, { workers });
  const { outcomes, latencies, failed, elapsedMs } = await runClient({
    mode: 'closed',
    port: app.port,
    clients: connections,
    count: connections,
    timeoutMs: timeout * 1000,
  });
  const report = await app.settled();
  await app.stop();
  return {
    outcomes,
    failed,
    unserved: Math.max(0, connections - sum(report.workers.map((worker) => worker.connections))),
    seconds: elapsedMs / 1000,
    p50: percentile(latencies, 50),
    p99: percentile(latencies, 99),
    max: percentile(latencies, 100),
  };
}
