'use strict';

/**
 * Messages between workers: requests and broadcasts of rcluster, and the equivalent with the built-in, where
 * workers send to the primary and its JavaScript forwards.
 *
 *   node benchmark/exchange.js --check
 */

const { fork } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { median } = require('../testing/stats.js');
const { print } = require('../testing/tables.js');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');

/** The number of listeners of a broadcast. */
const LISTENERS = 16;

/** Runs an app and its workers on one core. */
const PINNED = { execPath: 'taskset', execArgv: ['--cpu-list', '0', process.execPath] };

run(async () => {
  const options = readOptions('Requests between two workers, and broadcasts to sixteen.', {
    rounds: { ...flags.rounds, default: 7 },
    requests: { default: 3000, help: 'requests in each round, one after the other' },
    messages: { default: 1000, help: 'broadcasts in each round' },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  const apps = {
    cluster: await start('cluster'),
    rcluster: await start('rcluster'),
    pinnedCluster: await start('cluster', PINNED),
    pinned: await start('rcluster', PINNED),
  };
  /** @type {Record<string, number[]>} */
  const figures = {};
  const measure = async (
    /** @type {string} */ name,
    /** @type {any} */ app,
    /** @type {any} */ what,
    round,
  ) => {
    const result = await ask(app, what);
    // The first round only warms up the compiler.
    if (round > 0) (figures[name] ??= []).push(result);
  };
  for (let round = 0; round <= options.rounds; round++) {
    const requests = { measure: 'requests', count: options.requests };
    const broadcast = { measure: 'broadcast', count: options.messages };
    await measure('pinned, cluster', apps.pinnedCluster, requests, round);
    await measure('pinned', apps.pinned, requests, round);
    await measure('pinned, blocked', apps.pinned, { ...requests, blocked: true }, round);
    await measure('request, cluster', apps.cluster, requests, round);
    await measure('request', apps.rcluster, requests, round);
    await measure('request, blocked', apps.rcluster, { ...requests, blocked: true }, round);
    await measure('broadcast, cluster', apps.cluster, broadcast, round);
    await measure('broadcast', apps.rcluster, broadcast, round);
    await measure('broadcast, blocked', apps.rcluster, { ...broadcast, blocked: true }, round);
  }
  for (const app of Object.values(apps)) {
    app.kill();
    await once(app, 'exit');
  }
  /**
   * The median of the ratios of the rounds: other load on the machine affects both sides of a round alike.
   */
  const ratio = (/** @type {string} */ one, /** @type {string} */ other) =>
    median(figures[one].map((value, at) => value / figures[other][at]));
  const row = (/** @type {string} */ title, /** @type {string} */ name, /** @type {number} */ digits) => [
    title,
    ...['', ', blocked', ', cluster'].map((how) => median(figures[`${name}${how}`]).toFixed(digits)),
  ];
  publish(
    'exchange',
    {
      title: 'Messages between workers',
      about:
        'A small object is sent from worker to worker: as a request that is answered, one at a time, and as a broadcast to ' +
        `${LISTENERS} workers. With the built-in the primary relays them. *Blocked*: the primary's JavaScript does not run ` +
        'meanwhile. Processes that take turns on several cores mostly wait for a core to wake up, which is why requests are also ' +
        `measured with all processes on one core. Medians of ${options.rounds} interleaved rounds.`,
      tables: [
        {
          header: ['', 'rcluster', 'primary blocked', 'built-in, relayed'],
          rows: [
            row('request and answer, µs', 'request', 1),
            row('request and answer on one core, µs', 'pinned', 1),
            row('broadcast, messages a second', 'broadcast', 0),
          ],
        },
      ],
      targets: [
        {
          name: 'request on one core, relayed × direct',
          value: ratio('pinned, cluster', 'pinned'),
          atLeast: 2,
        },
        { name: 'broadcast, direct × relayed', value: ratio('broadcast', 'broadcast, cluster'), atLeast: 3 },
        { name: 'request, primary blocked × not', value: ratio('pinned, blocked', 'pinned'), atMost: 1.2 },
        {
          name: 'broadcast, not × primary blocked',
          value: ratio('broadcast', 'broadcast, blocked'),
          atMost: 1.2,
        },
      ],
    },
    { machine, options: { ...options, check: true }, figures },
  );
});

/**
 * @param {string} subject
 * @param {import('node:child_process').ForkOptions} [how]
 */
async function start(subject, how) {
  const app = fork(path.join(__dirname, 'fixtures', 'exchange-app.js'), {
    ...how,
    env: { ...process.env, BENCH_SUBJECT: subject, BENCH_WORKERS: `${LISTENERS + 1}` },
  });
  await once(app, 'message');
  return app;
}

/**
 * @param {import('node:child_process').ChildProcess} app
 * @param {object} what
 * @returns {Promise<number>}
 */
async function ask(app, what) {
  const over = new AbortController();
  const exit = once(app, 'exit', { signal: over.signal }).then(
    () => [],
    () => [],
  );
  app.send(what);
  const [message] = await Promise.race([once(app, 'message'), exit]);
  over.abort();
  if (message === undefined) throw new Error('the cluster has ended without a result');
  return message.result;
}
