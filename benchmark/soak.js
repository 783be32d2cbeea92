'use strict';

/**
 * Whether anything grows with the number of connections served: open files and memory of the primary and of
 * the workers, before, at each quarter and after. Garbage is collected before each reading, so what remains
 * is really referenced.
 */

const { App } = require('./lib/app');
const { runClient } = require('./lib/client');
const { chooseContestants } = require('./lib/contestants');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { memory, openFiles } = require('../testing/proc.js');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');
const { print } = require('../testing/tables.js');
const { sum } = require('../testing/stats.js');

const PARTS = 4;
/**
 * The nursery of V8 grows with load by many times the size of a leak, so it is fixed at its initial size here.
 */
const EXEC_ARGV = ['--expose-gc', '--min-semi-space-size=1', '--max-semi-space-size=1'];

/** @typedef {{ rss: number, pss: number, files: number }} Reading memory in KiB */

run(async () => {
  const options = readOptions('Growth of memory and open files with the number of connections.', {
    workers: flags.workers,
    clients: flags.clients,
    connections: { default: 200_000, help: 'connections served between the first and the last reading' },
    warmup: { default: 20_000, help: 'connections served before the first reading' },
    timeout: flags.timeout,
    only: { ...flags.only, default: 'rcluster' },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  const results = [];
  for (const contestant of chooseContestants(options.only)) {
    const { connections, warmup } = options;
    print(`\n${contestant.label}: ${connections} connections after ${warmup} to warm up (memory in KiB)`);
    results.push({ contestant: contestant.id, ...(await soak(contestant, options)) });
  }
  const own = results.find(({ contestant }) => contestant === 'rcluster');
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Hundreds of thousands of connections',
    about:
      `What the processes have gained after ${options.connections} connections to ${options.workers} workers, after ` +
      `${options.warmup} to warm up: memory in KiB and open files. Garbage is collected before each reading.`,
    tables: results.map(({ contestant, growth }) => ({
      title: contestant,
      header: ['growth', 'RSS', 'PSS', 'files'],
      rows: Object.entries(growth).map(([who, { rss, pss, files }]) => [
        who,
        signed(rss),
        signed(pss),
        signed(files),
      ]),
    })),
    targets: [
      { name: 'growth of open files, primary', value: own?.growth.primary.files, atMost: 0 },
      { name: 'growth of open files, workers', value: own?.growth.workers.files, atMost: 0 },
      // Resident memory grows and shrinks by whole spans of the heap; a leak of 10 bytes a connection would
      // exceed this.
      { name: 'growth of memory, primary, KiB', value: own?.growth.primary.pss, atMost: 1024 },
      {
        name: 'growth of memory, workers, KiB',
        value: own?.growth.workers.pss,
        atMost: 1024 * options.workers,
      },
    ],
  };
  publish('soak', section, { machine, options, results });
});

/**
 * @param {import('./lib/contestants').Contestant} contestant
 * @param {{ workers: number, clients: number, connections: number, warmup: number, timeout: number }} options
 */
async function soak(contestant, { workers, clients, connections, warmup, timeout }) {
  const app = await App.start(contestant, { workers, execArgv: EXEC_ARGV });
  const serve = async (/** @type {number} */ count) => {
    const { failed } = await runClient({
      mode: 'closed',
      port: app.port,
      clients,
      count,
      timeoutMs: timeout * 1000,
    });
    if (failed > 0) throw new Error(`${failed} of ${count} requests failed`);
  };
  await serve(warmup);
  const readings = [await read(app, 0)];
  show(readings[0], readings[0]);
  for (let part = 1; part <= PARTS; part++) {
    const served = Math.round((connections * part) / PARTS);
    await serve(served - readings[readings.length - 1].served);
    readings.push(await read(app, served));
    show(readings[part], readings[0]);
  }
  await app.stop();
  const [first, last] = [readings[0], readings[PARTS]];
  const growth = {
    primary: difference(last.primary, first.primary),
    workers: difference(last.workers, first.workers),
  };
  return { readings, growth };
}

/**
 * @param {InstanceType<typeof App>} app
 * @param {number} served
 */
async function read(app, served) {
  await app.settled({ collect: true });
  const { primary, workers } = await app.settled({ collect: true });
  const all = [primary, ...workers].map(({ pid }) => ({ ...memory(pid), files: openFiles(pid) }));
  const ofWorkers = all.slice(1);
  const total = (/** @type {keyof Reading} */ key) => sum(ofWorkers.map((reading) => reading[key]));
  return {
    served,
    primary: all[0],
    workers: { rss: total('rss'), pss: total('pss'), files: total('files') },
  };
}

/**
 * @param {{ served: number, primary: Reading, workers: Reading }} reading
 * @param {{ primary: Reading, workers: Reading }} first
 */
function show({ served, primary, workers }, first) {
  const ofPrimary = describeReading(primary, first.primary);
  const ofWorkers = describeReading(workers, first.workers);
  print(`  ${String(served).padStart(7)}  primary ${ofPrimary}; workers ${ofWorkers}`);
}

/**
 * @param {Reading} now
 * @param {Reading} first
 */
function describeReading(now, first) {
  return `RSS ${now.rss}, PSS ${now.pss} (${signed(now.pss - first.pss)}), files ${now.files}`;
}

/**
 * @param {Reading} last
 * @param {Reading} first
 * @returns {Reading}
 */
function difference(last, first) {
  return { rss: last.rss - first.rss, pss: last.pss - first.pss, files: last.files - first.files };
}

/** @param {number} value */
function signed(value) {
  return value > 0 ? `+${value}` : String(value);
}
