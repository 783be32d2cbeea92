'use strict';

/** The cost of a store with a backend, compared with one without and with the server itself, in one run. */

const { fork } = require('node:child_process');
const { once } = require('node:events');
const net = require('node:net');
const { performance } = require('node:perf_hooks');
const cluster = require('..');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');
const { startRedis } = require('../testing/redis.js');
const { median } = require('../testing/stats.js');
const { print } = require('../testing/tables.js');

/** The number of sets in flight. */
const ABREAST = 2000;

/** The argument of a process that is another cluster with the same store. */
const ECHO = 'echo';

/**
 * @param {import('..').SharedStore} store
 * @param {number} count
 * @returns {number} ns
 */
function timeGets(store, count) {
  const start = performance.now();
  for (let i = 0; i < count; i += 1) store.get('number');
  return ((performance.now() - start) * 1e6) / count;
}

/**
 * How long the server takes to answer a PING, in µs.
 * @param {string} path
 * @param {number} count
 */
async function timePings(path, count) {
  const socket = net.connect(path);
  await once(socket, 'connect');
  const times = [];
  for (let i = 0; i < count; i += 1) {
    const start = performance.now();
    socket.write('PING\r\n');
    await once(socket, 'data');
    times.push((performance.now() - start) * 1000);
  }
  socket.destroy();
  return median(times);
}

/**
 * Answers the sets of the other cluster.
 * @param {string} backend
 */
async function runEcho(backend) {
  const store = cluster.shared('bench', { backend });
  await store.ready;
  process.send?.('ready');
  // The channel keeps the process alive.
  process.once('disconnect', () => process.exit());
  for await (const event of store.watch({ key: 'there' })) {
    if (event.type === 'set') void store.set('back', event.value);
  }
}

async function main() {
  const options = readOptions('A store with a backend: reads, the way to another cluster, writes.', {
    rounds: { ...flags.rounds, default: 7 },
    gets: { default: 500_000, help: 'reads in each round' },
    trips: { default: 400, help: 'changes that go to the other cluster and back, one after the other' },
    sets: { default: 100_000, help: `writes, ${ABREAST} at a time` },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  const server = await startRedis();
  // Stores do not keep the process alive.
  const staying = setInterval(() => {}, 1 << 30);
  const backend = `redis+unix://${server.path}`;
  const embedded = cluster.shared('embedded');
  const store = cluster.shared('bench', { backend });
  await store.ready;
  await Promise.all([embedded.set('number', 1), store.set('number', 1)]);
  const gets = Array.from({ length: options.rounds }, () => ({
    embedded: timeGets(embedded, options.gets),
    backend: timeGets(store, options.gets),
  }));
  const get = median(gets.map((round) => round.backend / round.embedded));

  const echo = fork(__filename, [ECHO, backend], { execArgv: [] });
  await once(echo, 'message');
  /** @type {(() => void) | undefined} */
  let onBack;
  void (async () => {
    for await (const { type } of store.watch({ key: 'back' })) if (type === 'set') onBack?.();
  })();
  const pings = [await timePings(server.path, options.trips)];
  const trips = [];
  for (let i = 0; i < options.trips; i += 1) {
    const back = new Promise((resolve) => {
      onBack = () => resolve(undefined);
    });
    const start = performance.now();
    void store.set('there', i);
    await back;
    // A round trip: half of it is one way.
    trips.push(((performance.now() - start) * 1000) / 2);
  }
  pings.push(await timePings(server.path, options.trips));
  echo.kill();
  const [ping, oneWay] = [median(pings), median(trips)];

  const start = performance.now();
  for (let sent = 0; sent < options.sets; sent += ABREAST) {
    await Promise.all(Array.from({ length: ABREAST }, (_, i) => store.set(`key ${i % 1000}`, i)));
  }
  const rate = options.sets / ((performance.now() - start) / 1000);
  await server.close();
  clearInterval(staying);

  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Stores with a backend',
    about:
      'A store whose values are on a `redis-server` on this machine, through a Unix socket: reads of a number beside those of a ' +
      'store without a backend, the time from `set()` to a watcher in another cluster beside a PING of the same server, ' +
      `and writes, ${ABREAST} at a time. Medians.`,
    tables: [
      {
        header: ['', 'figure'],
        rows: [
          ['get, ns', median(gets.map((round) => round.backend)).toFixed(0)],
          ['get without a backend, ns', median(gets.map((round) => round.embedded)).toFixed(0)],
          ['set to watcher elsewhere, µs', oneWay.toFixed(0)],
          ['PING, µs', ping.toFixed(0)],
          ['sets a second', rate.toFixed(0)],
        ],
      },
    ],
    targets: [
      { name: 'get, × without a backend', value: get, atMost: 1.1 },
      { name: 'set to watcher elsewhere, × a PING', value: oneWay / ping, atMost: 2 },
      { name: 'sets a second', value: rate, atLeast: 50_000 },
    ],
  };
  publish('redis', section, { machine, options, results: { gets, trips, pings, rate } });
}

if (process.argv[2] === ECHO) void runEcho(process.argv[3]);
else run(main);
