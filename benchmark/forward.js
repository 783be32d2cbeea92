'use strict';

/**
 * Forwarding to workers with addresses of their own, compared with nginx's stream module and HAProxy in TCP
 * mode in front of the same workers, with passing descriptors, and with one worker without a proxy.
 *
 *   node benchmark/forward.js             a minute and a half
 *
 * Needs wrk, nginx with its stream module, and haproxy (Debian: apt-get install wrk nginx libnginx-mod-stream
 * haproxy). If one of the latter two is missing, it is left out.
 */

const { fork } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { chooseLoadClients } = require('./lib/load');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { cpuBetween, threadTimes } = require('../testing/proc.js');
const { missing, startHaproxy, startNginx } = require('./lib/proxies');
const { circumstances, describe } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { interleave, samplesOf } = require('./lib/rounds');
const { behind, publish } = require('./lib/section');
const { median, sum } = require('../testing/stats.js');

const MEGABYTE = 2 ** 20;

/** The length of the answers in the scenario with large answers. */
const LARGE = 8 * MEGABYTE;

/**
 * @typedef {{ id: string, label: string, port: number, pids: () => number[], thread?: string }} Contestant
 * @typedef {{ id: string, title: string, scenario: 'close' | 'keepalive', path: string, clients: number }} Scenario
 * @typedef {Awaited<ReturnType<typeof measure>>} Sample
 * @typedef {Scenario & { measured: { contestant: Contestant, samples: Sample[] }[] }} Result
 */

/** @type {(() => void)[]} */
const stops = [];
process.on('exit', () => stops.forEach((stop) => stop()));
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => process.exit(1));

run(async () => {
  const options = readOptions('Forwarding against nginx, HAProxy, passing, and nothing in between.', {
    workers: flags.workers,
    clients: flags.clients,
    rounds: { ...flags.rounds, default: 3 },
    duration: { default: 1, help: 'seconds of load for each contestant, scenario and round' },
    whole: { default: 1024, help: 'megabytes that go through one connection and are compared' },
    only: flags.only,
    seed: flags.seed,
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  const lacking = missing();
  if (lacking) print(`Not everything is installed: ${lacking}`);
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-bench-'));
  stops.push(() => fs.rmSync(directory, { recursive: true, force: true }));

  const all = await start(directory, options.workers, lacking ?? '');
  const wanted = options.only.split(',').filter(Boolean);
  const unknown = wanted.filter((id) => !all.some((contestant) => contestant.id === id));
  if (unknown.length > 0) throw new Error(`there is no ${unknown.join(', ')}`);
  const contestants = all.filter(({ id }) => wanted.length === 0 || wanted.includes(id));
  const { clients } = options;
  /** @type {Scenario[]} */
  const scenarios = [
    { id: 'close', title: 'New connection for every request', scenario: 'close', path: '/', clients },
    { id: 'keepalive', title: 'Keep-alive', scenario: 'keepalive', path: '/', clients },
    { id: 'large', title: 'Responses of 8 MB', scenario: 'keepalive', path: `/${LARGE}`, clients: 4 },
  ];
  const load = chooseLoadClients();
  /** @type {Result[]} */
  const results = [];
  for (const scenario of scenarios) {
    const measured = await interleave(/** @type {any} */ (contestants), options, (contestant) =>
      measure(/** @type {any} */ (contestant), scenario, options.duration, load[scenario.scenario]),
    );
    print(`measured: ${scenario.title}`);
    results.push(/** @type {Result} */ (/** @type {unknown} */ ({ ...scenario, measured })));
  }
  const intact = [];
  for (const { id, label, port } of contestants.filter(({ id }) => id.startsWith('own-'))) {
    const bytes = await compare(port, options.whole * MEGABYTE);
    print(`\n${label}: ${bytes / MEGABYTE} MB through one connection, every byte as it was sent`);
    intact.push({ id, bytes });
  }
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Workers with ports of their own',
    about:
      `rcluster, nginx (stream) and HAProxy (TCP mode) forward bytes to the same ${options.workers} workers in Node, which ` +
      'listen on a port or Unix socket of their own. For comparison: passing connections, and one worker without a proxy. ' +
      '*Proxy CPU* is the CPU time of the forwarding thread, or of all processes of the proxy. ' +
      `Load by ${load.close.name}, ${clients} clients. Medians of ${options.rounds} interleaved rounds.`,
    tables: results.map(table),
    targets: targets(results),
    behind: comparisons(results),
    lacking: lacking ? [`what is not installed here (\`${lacking}\`)`] : [],
  };
  publish('forward', section, { machine, options, results, intact });
});

/**
 * @param {string} directory
 * @param {number} workers
 * @param {string} lacking
 * @returns {Promise<Contestant[]>}
 */
async function start(directory, workers, lacking) {
  const [passing, byPort, byPath] = await Promise.all(
    ['passing', 'port', 'path'].map((to) => startApp(to, workers)),
  );
  /** @type {Contestant[]} */
  const contestants = [
    { id: 'direct', label: 'one worker, directly', port: byPort.workers[0].port, pids: () => [] },
    { id: 'passing', label: 'rcluster, passing', ...passing, thread: 'rcluster-accept' },
    { id: 'own-port', label: 'rcluster, own port', ...byPort, thread: 'rcluster-fwd' },
    { id: 'own-path', label: 'rcluster, own path', ...byPath, thread: 'rcluster-fwd' },
  ];
  for (const [name, startProxy] of /** @type {const} */ ([
    ['nginx', startNginx],
    ['haproxy', startHaproxy],
  ])) {
    if (lacking.includes(name)) continue;
    for (const [kind, { workers: backends }] of /** @type {const} */ ([
      ['port', byPort],
      ['path', byPath],
    ])) {
      const proxy = await startProxy(directory, `${name}-${kind}`, backends);
      stops.push(proxy.stop);
      contestants.push({ id: `${name}-${kind}`, label: `${name}, own ${kind}`, ...proxy });
    }
  }
  return contestants;
}

/**
 * @param {string} to
 * @param {number} workers
 * @returns {Promise<{ port: number, pids: () => number[], workers: import('./lib/proxies').Backend[] }>}
 */
function startApp(to, workers) {
  const child = fork(path.join(__dirname, 'fixtures', 'forward.js'), {
    env: { ...process.env, BENCH_TO: to, BENCH_WORKERS: `${workers}` },
  });
  stops.push(() => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.once('message', (/** @type {any} */ app) => resolve({ ...app, pids: () => [app.pid] }));
    child.once('exit', (code) => reject(new Error(`the app ended with ${code}`)));
  });
}

/**
 * @param {Contestant} contestant
 * @param {Scenario} scenario
 * @param {number} seconds
 * @param {import('./lib/load').LoadClient} load
 */
async function measure({ port, pids, thread }, { scenario, path, clients }, seconds, load) {
  const before = pids().map((pid) => /** @type {const} */ ([pid, threadTimes(pid)]));
  const { requests, requestsPerSecond, p50, p99, errors } = await load.run({
    scenario,
    port,
    clients,
    seconds,
    path,
  });
  const cpu = sum(
    before.map(([pid, times]) => {
      const { total, byThread } = cpuBetween(times, threadTimes(pid));
      return thread === undefined ? total : (byThread[thread] ?? 0);
    }),
  );
  return { requestsPerSecond, p50, p99, errors, cpu: cpu / requests };
}

/**
 * The median of the rounds.
 * @param {Result} result
 * @param {string} id
 * @param {keyof Sample} what
 */
function figure({ measured }, id, what) {
  return median(samplesOf(measured, id)?.map((sample) => sample[what]) ?? []);
}

/**
 * @param {Result} result
 * @returns {import('./lib/section').Table}
 */
function table(result) {
  const base = figure(result, 'own-port', 'requestsPerSecond');
  return {
    title: result.title,
    header: ['', 'requests/s', '× own port', 'p50 ms', 'p99 ms', 'proxy CPU µs/request', 'errors'],
    rows: result.measured.map(({ contestant: { id, label } }) => [
      label,
      figure(result, id, 'requestsPerSecond').toFixed(0),
      (figure(result, id, 'requestsPerSecond') / base).toFixed(2),
      (figure(result, id, 'p50') / 1000).toFixed(2),
      (figure(result, id, 'p99') / 1000).toFixed(2),
      figure(result, id, 'cpu').toFixed(1),
      figure(result, id, 'errors').toFixed(0),
    ]),
  };
}

/**
 * Reads one long answer and compares every byte with what the worker sends.
 * @param {number} port
 * @param {number} length
 * @returns {Promise<number>} how many were compared
 */
function compare(port, length) {
  const block = Buffer.alloc(2 ** 24);
  for (let at = 0; at + 4 <= block.length; at += 4) block.writeUInt32LE(at, at);
  return new Promise((resolve, reject) => {
    http
      .get({ port, host: '127.0.0.1', path: `/${length}`, agent: false }, (response) => {
        let at = 0;
        response.on('data', (/** @type {Buffer} */ chunk) => {
          for (let from = 0; from < chunk.length;) {
            const start = at % block.length;
            const count = Math.min(chunk.length - from, block.length - start);
            if (block.compare(chunk, from, from + count, start, start + count) !== 0) {
              reject(new Error(`other bytes than were sent, at ${at}`));
              response.destroy();
              return;
            }
            from += count;
            at += count;
          }
        });
        response.on('end', () =>
          at === length ? resolve(at) : reject(new Error(`${length - at} of ${length} bytes are missing`)),
        );
        response.on('error', reject);
      })
      .on('error', reject);
  });
}

const kinds = /** @type {const} */ (['port', 'path']);
const proxies = /** @type {const} */ (['nginx', 'haproxy']);

/** @param {readonly Result[]} results */
function targets(results) {
  return results.flatMap((result) =>
    kinds.flatMap((kind) =>
      proxies.map((other) => ({
        name: `${result.id}: requests/s of own ${kind} over ${other}'s`,
        value:
          figure(result, `own-${kind}`, 'requestsPerSecond') /
          figure(result, `${other}-${kind}`, 'requestsPerSecond'),
        atLeast: 1,
      })),
    ),
  );
}

/**
 * The comparisons in which another contestant is better than forwarding by rcluster.
 * @param {readonly Result[]} results
 */
function comparisons(results) {
  return behind(
    results.flatMap((result) =>
      kinds.flatMap((kind) =>
        result.measured
          // Passing has no cost where connections are kept open.
          .filter(
            ({ contestant: { id } }) =>
              id.endsWith(`-${kind}`) || (id === 'passing' && result.id === 'close'),
          )
          .flatMap(({ contestant: { id, label: than } }) =>
            /** @type {const} */ ([
              ['requests/s', 'requestsPerSecond', 'more'],
              ['CPU time of the proxy', 'cpu', 'less'],
            ]).map(([what, key, better]) => ({
              what: `Own ${kind}, ${result.title[0].toLowerCase()}${result.title.slice(1)}, ${what}`,
              own: figure(result, `own-${kind}`, key),
              other: figure(result, id, key),
              than,
              better,
            })),
          ),
      ),
    ),
  );
}
