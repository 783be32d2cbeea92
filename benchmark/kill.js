'use strict';

/**
 * The outcomes of clients while workers are killed: new connections at a steady rate, a random worker ended
 * by SIGKILL at every interval, the app forking the replacement on 'exit'.
 *
 * A worker records the address of every connection that reaches its JavaScript, and every connection comes
 * from an address of its own. So a broken connection is known either to have been received by a killed worker, where
 * it could not be saved, or never to have been received by any.
 */

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: delay } = require('node:timers/promises');
const { App } = require('./lib/app');
const { runClient } = require('./lib/client');
const { chooseContestants } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave } = require('./lib/rounds');
const { publish } = require('./lib/section');
const { percentile, sum } = require('../testing/stats.js');

/**
 * Seconds of load after the last kill, in which replacements start: losses after that are not caused by a
 * kill.
 */
const TAIL = 1;

const columns = /** @type {const} */ (['requests', 'ok', 'seen', 'unseen', 'refused', 'hung', 'kills']);

run(async () => {
  const options = readOptions('What clients notice when workers are killed under load.', {
    workers: flags.workers,
    rate: flags.rate,
    duration: { default: 8, help: 'seconds of load in each round' },
    every: { default: 250, help: 'milliseconds from one kill to the next' },
    rounds: { ...flags.rounds, default: 3 },
    timeout: flags.timeout,
    only: flags.only,
    seed: flags.seed,
    check: flags.check,
  });
  if (options.duration <= TAIL) throw new Error(`--duration has to be more than ${TAIL}`);
  // Every connection has an address of its own out of 127.1.0.0/16.
  if (options.rate * options.duration > 65_536) throw new Error('more than 65,536 connections in a round');
  const chosen = chooseContestants(options.only, ['builtin-rr', 'rcluster']);
  const machine = circumstances();
  print(describe(machine));
  const { rate, every, rounds, seed } = options;
  print(`${rate} connections/s, SIGKILL every ${every} ms, ${rounds} rounds, seed ${seed}`);

  const results = await interleave(chosen, options, async (contestant, round) => {
    const sample = await measure(contestant, { ...options, seed: options.seed + round });
    const counts = columns.map((column) => `${column} ${sample[column]}`).join(', ');
    print(`round ${round}  ${contestant.id.padEnd(12)}  ${counts}, p99 ${sample.p99.toFixed(1)} ms`);
    return sample;
  });

  const totals = results.map(({ contestant, samples }) => ({
    id: contestant.id,
    label: contestant.label,
    counts: Object.fromEntries(
      columns.map((column) => [column, sum(samples.map((sample) => sample[column]))]),
    ),
  }));
  const own = totals.find(({ id }) => id === 'rcluster');
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Killed workers',
    about:
      `${rate} new connections a second to ${options.workers} workers, one of which is killed (SIGKILL) every ${every} ms; ` +
      `the app forks its replacement. Counts of ${rounds} rounds. *Seen*: broken after a worker that was killed had ` +
      "received it, where nobody could have saved it. *Unseen*: broken before it reached a worker's JavaScript. " +
      `*Refused*: nobody listened. *Hung*: neither answered nor closed within ${options.timeout} s.`,
    tables: [
      {
        header: ['', ...columns],
        rows: totals.map((row) => [row.label, ...columns.map((name) => `${row.counts[name]}`)]),
      },
    ],
    targets: [
      { name: 'hung', value: own?.counts.hung, atMost: 0 },
      { name: 'refused', value: own?.counts.refused, atMost: 0 },
      { name: 'broken though no killed worker had them', value: own?.counts.unseen, atMost: 0 },
    ],
  };
  publish('kill', section, { machine, options, totals, results });
});

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, rate: number, duration: number, every: number, timeout: number,
 *   seed: number }} options
 */
async function measure(contestant, { workers, rate, duration, every, timeout, seed }) {
  const trace = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-bench-'));
  try {
    const app = await App.start(contestant, { workers, env: { BENCH_TRACE: trace } });
    const load = runClient({
      mode: 'open',
      port: app.port,
      rate,
      seconds: duration,
      timeoutMs: timeout * 1000,
    });
    const kills = (async () => {
      await app.ask('killEvery', { ms: every, seed });
      await delay((duration - TAIL) * 1000);
      return app.ask('stopKilling');
    })();
    const [{ records }, { kills: killed, workerErrors, otherExits }] = await Promise.all([load, kills]);
    await app.stop();
    const seen = new Set(
      fs.readdirSync(trace).flatMap((file) => fs.readFileSync(path.join(trace, file), 'utf8').split('\n')),
    );
    const broken = records.filter(({ outcome }) => outcome === 'reset' || outcome === 'closed');
    const count = (/** @type {string} */ wanted) =>
      records.filter(({ outcome }) => outcome === wanted).length;
    return {
      requests: records.length,
      ok: count('ok'),
      seen: broken.filter(({ localAddress }) => seen.has(localAddress)).length,
      unseen: broken.filter(({ localAddress }) => !seen.has(localAddress)).length,
      refused: count('refused'),
      hung: count('hung'),
      kills: killed,
      workerErrors,
      otherExits,
      p99: percentile(
        records.filter(({ outcome }) => outcome === 'ok').map(({ latency }) => latency),
        99,
      ),
      clientLateness: percentile(
        records.map(({ lateness }) => lateness),
        99,
      ),
      failures: records.filter(({ outcome }) => outcome !== 'ok'),
    };
  } finally {
    fs.rmSync(trace, { recursive: true });
  }
}
