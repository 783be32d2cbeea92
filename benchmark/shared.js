'use strict';

/**
 * Shared stores: reading, writing, the latency from a write to a watcher in another process, and memory;
 * compared with a Map and JSON.parse(), and with lmdb, Redis and rate-limiter-flexible if they are installed:
 *
 *   npm install --prefix DIR lmdb ioredis rate-limiter-flexible     and redis-server on the PATH
 *   node benchmark/shared.js --compare DIR --check
 */

const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const cluster = require('..');
const { median, percentile, sum } = require('../testing/stats.js');
const { print } = require('../testing/tables.js');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');
const { KEYS, OPTIONS, keyOf, reads } = require('./lib/shared');
const { KINDS, measureTakeover } = require('./lib/takeover');
const { measureLimiter, measureRedis, openLmdb } = require('./lib/shared-others');

/** The time of `Map.get`, in ns, on a machine for which the limit of a `get` is 250 ns. */
const MAP_GET = 32;

/** How long all workers write at the same time, in ms. */
const STORM = 4000;

/** @typedef {{ median: number, min?: number, max?: number }} Figure */

const object = (/** @type {number} */ id) => ({
  id,
  name: 'a name',
  email: 'someone@example.com',
  active: true,
  age: 42,
  city: 'a city',
  tags: 'a,b',
  score: 1.5,
  parent: null,
  last: 'the end',
});

run(async () => {
  const options = readOptions('Shared stores: reading, writing, watching, and memory.', {
    compare: {
      default: process.env.BENCH_COMPARE ?? '',
      help: 'a folder with lmdb, ioredis and rate-limiter-flexible in its node_modules',
    },
    rounds: { ...flags.rounds, default: 15 },
    takeovers: { default: 20, help: 'workers of each kind that are killed while they have something' },
    keys: { default: 1_000_000, help: 'keys of 100 bytes, for the memory that they take' },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  cluster.setupPrimary({ exec: path.join(__dirname, 'fixtures', 'shared-worker.js') });
  /** @type {string[]} */
  const lacking = [];
  const read = await measureReads(options, lacking);
  const { quiet, busy } = await measureTails();
  const write = await measureWrites();
  const redis = await measureRedis(options.compare, lacking);
  const limiter = await measureLimiter(options.compare, lacking);
  const takeover = await measureTakeover(start, options.takeovers, lacking);
  const memory = await measureMemory(options.keys);
  const round = (/** @type {number | undefined} */ value, digits = 0) => (value ?? NaN).toFixed(digits);
  publish(
    'shared',
    {
      title: 'Shared state',
      about:
        'One store that all processes share. Reads are ns of CPU time for each, of 30,000 keys, median and minimum of ' +
        `${options.rounds} interleaved rounds; writes come from workers, 500 at a time under way where they are *pipelined*.`,
      tables: [
        {
          title: 'From the end of a worker to the next that has what it had, ms',
          header: ['', 'median', 'longest'],
          rows: Object.entries(takeover ?? {}).map(([kind, its]) => [
            kind,
            round(its.median, 2),
            round(its.max, 2),
          ]),
        },
        {
          title: 'Reading, ns',
          header: ['', 'median', 'min'],
          rows: Object.entries(read).map(([name, { median, min }]) => [name, round(median), round(min)]),
        },
        {
          title: 'Each read, without writes and with 50,000 sets a second, µs',
          header: ['', 'quiet, median', 'p99.99', 'with sets, median', 'p99.99'],
          rows: Object.keys(busy).map((name) => [
            name,
            round(quiet[name].p50, 2),
            round(quiet[name].tail, 1),
            round(busy[name].p50, 2),
            round(busy[name].tail, 1),
          ]),
        },
        {
          title: 'Writing',
          header: ['', 'median', 'best'],
          rows: [
            ['set, one at a time, µs', round(write.single.p50, 1), round(write.single.min, 1)],
            ['set, pipelined, a second', round(write.rate.median), round(write.rate.max)],
            ['increment, pipelined, a second', round(write.increments.median), round(write.increments.max)],
            ['set of 8 workers together, a second', round(write.together), ''],
            [
              'INCR of Redis, pipelined, a second',
              round(redis?.increments.median),
              round(redis?.increments.max),
            ],
            ['RateLimiterCluster, pipelined, a second', round(limiter?.median), round(limiter?.max)],
            ['set → watcher in an idle worker, µs', round(write.echo.p50, 1), round(write.echo.min, 1)],
          ],
        },
      ],
      targets: [
        { name: 'get of a number, × Map.get', value: ratio(read, 'number', 'Map'), atMost: 250 / MAP_GET },
        { name: 'get of a string, × Map.get', value: ratio(read, 'string', 'Map'), atMost: 250 / MAP_GET },
        { name: 'lmdb, × get of a number', value: ratio(read, 'lmdb, number', 'number'), atLeast: 2 },
        { name: 'lmdb, × get of a string', value: ratio(read, 'lmdb, string', 'string'), atLeast: 2 },
        { name: 'Redis, × get', value: redis && (redis.get * 1000) / read.number.median, atLeast: 100 },
        { name: 'get of an object, × JSON.parse', value: ratio(read, 'object', 'JSON.parse'), atMost: 1.5 },
        ...['number', 'object'].flatMap((name) => [
          {
            name: `get of ${name === 'number' ? 'a' : 'an'} ${name} with 50,000 sets a second, × quiet`,
            value: busy[name].p50 / quiet[name].p50,
            atMost: 2,
          },
          { name: 'the same, p99.99, µs', value: busy[name].tail, atMost: 50 },
        ]),
        { name: 'set, one at a time, p50, µs', value: write.single.p50, atMost: 40 },
        { name: 'set, pipelined, a second', value: write.rate.median, atLeast: 200_000 },
        { name: 'set, 8 workers together, a second', value: write.together, atLeast: 200_000 },
        {
          name: 'increment, × Redis',
          value: redis && write.increments.median / redis.increments.median,
          atLeast: 2,
        },
        {
          name: 'increment, × RateLimiterCluster',
          value: limiter && write.increments.median / limiter.median,
          atLeast: 10,
        },
        { name: 'set → watcher in an idle worker, p50, µs', value: write.echo.p50, atMost: 80 },
        ...KINDS.map((kind) => ({
          name: `${kind} of a killed worker, ms after the kernel says so, p50`,
          value: takeover?.[kind].median,
          atMost: 5,
        })),
        {
          name: `memory of ${options.keys} keys of 100 bytes, × keys and values`,
          value: memory.many,
          atMost: 1.6,
        },
        { name: 'memory under churn with lru and ttl, × size', value: memory.churn, atMost: 1.1 },
        { name: 'growth of the primary meanwhile, MB', value: memory.growth, atMost: 8 },
      ],
      lacking,
    },
    {
      machine,
      options: { ...options, check: true },
      read,
      quiet,
      busy,
      write,
      redis,
      limiter,
      takeover,
      memory,
    },
  );
  if (cluster.workers) for (const worker of Object.values(cluster.workers)) worker?.process.kill();
});

/**
 * @param {Record<string, Figure>} figures
 * @param {string} one
 * @param {string} other
 */
function ratio(figures, one, other) {
  return figures[one] && figures[one].median / figures[other].median;
}

/**
 * A worker with a role.
 * @param {string} role
 * @param {Record<string, string>} [env]
 */
function start(role, env) {
  return cluster.fork({ ...env, BENCH_ROLE: role });
}

/**
 * The results of a worker with this role.
 * @param {string} role
 * @param {Record<string, string>} [env]
 */
async function ask(role, env) {
  const worker = start(role, env);
  const [message] = await Promise.race([once(worker, 'message'), once(worker, 'exit').then(() => [])]);
  if (message === undefined) throw new Error(`the worker '${role}' has ended without a result`);
  if (worker.isConnected()) await once(worker, 'exit');
  return message.result;
}

/**
 * @param {{ compare: string, rounds: number }} options
 * @param {string[]} lacking
 */
async function measureReads({ compare, rounds }, lacking) {
  const [numbers, strings, objects] = ['numbers', 'strings', 'objects'].map((name) =>
    cluster.shared(name, OPTIONS),
  );
  const map = new Map();
  for (let i = 0; i < KEYS; i++) {
    map.set(keyOf(i), i);
    void numbers.set(keyOf(i), i);
    void strings.set(keyOf(i), `a string of 32 characters ${i}`.padEnd(32));
    await objects.set(keyOf(i), object(i));
  }
  // Each once a round, as the objects are read: a single text would always be in the processor's cache.
  const texts = Array.from({ length: KEYS }, (_, i) => JSON.stringify(object(i)));
  let next = 0;
  const lmdb = await openLmdb(compare, lacking);
  return reads(
    {
      Map: (key) => map.get(key),
      number: (key) => numbers.get(key),
      string: (key) => strings.get(key),
      'JSON.parse': () => JSON.parse(texts[next++ % KEYS]),
      object: (key) => objects.get(key),
      ...(lmdb && { 'lmdb, number': lmdb.number, 'lmdb, string': lmdb.text }),
    },
    rounds,
  );
}

/**
 * Each read, in µs: without writes, and while a worker writes. `JSON.parse` alone and arithmetic, which neither allocates nor
 * calls anything, show how much of the tail comes from the garbage collector and from the system.
 */
async function measureTails() {
  const [objects, numbers] = ['objects', 'numbers'].map((name) => cluster.shared(name, OPTIONS));
  const texts = Array.from({ length: KEYS }, (_, i) => JSON.stringify(object(i)));
  const contestants = {
    number: (/** @type {number} */ i) => numbers.get(keyOf(i)),
    object: (/** @type {number} */ i) => objects.get(keyOf(i)),
    'JSON.parse': (/** @type {number} */ i) => JSON.parse(texts[i]),
    arithmetic,
  };
  // Neither this array nor the clock allocates while reads are timed: their garbage would be part of the tail.
  const times = new Float64Array(KEYS * 10);
  const measure = async (/** @type {(i: number) => unknown} */ read) => {
    let n = 0;
    for (let round = 0; round < 10; round++) {
      for (let i = 0; i < KEYS; i++) {
        const start = performance.now();
        read(i);
        times[n++] = (performance.now() - start) * 1000;
      }
      await new Promise(setImmediate);
    }
    const all = Array.from(times);
    return { p50: percentile(all, 50), tail: percentile(all, 99.99) };
  };
  const all = async () => {
    /** @type {Record<string, { p50: number, tail: number }>} */
    const figures = {};
    for (const [name, read] of Object.entries(contestants)) figures[name] = await measure(read);
    return figures;
  };
  await all();
  const quiet = await all();
  const writer = start('sets');
  await once(writer, 'message');
  // In its first second the writer needs a core and more for compiling its code, and this process is interrupted for it.
  for (const end = performance.now() + 2000; performance.now() < end;) await measure(contestants.object);
  const rounds = [];
  for (let round = 0; round < 5; round++) rounds.push(await all());
  writer.process.kill();
  await once(writer, 'exit');
  const busy = Object.fromEntries(
    Object.keys(contestants).map((name) => [
      name,
      {
        p50: median(rounds.map((figures) => figures[name].p50)),
        tail: median(rounds.map((figures) => figures[name].tail)),
      },
    ]),
  );
  return { quiet, busy };
}

/** The result of `arithmetic()`, which is kept so that the compiler does not remove the work. */
let residue = 1;

/** Takes about as long as a `get` of an object. */
function arithmetic(/** @type {number} */ i) {
  for (let k = 0; k < 110; k++) residue = (residue * 1_103_515_245 + i) & 0x7fffffff;
}

async function measureWrites() {
  const single = await ask('single');
  const rate = await ask('rate');
  const increments = await ask('increments');
  const stormers = Array.from({ length: 8 }, () => start('storm'));
  await Promise.all(stormers.map((worker) => once(worker, 'message')));
  const counts = stormers.map(async (worker) => {
    const [{ result }] = await once(worker, 'message');
    if (worker.isConnected()) await once(worker, 'exit');
    return result;
  });
  for (const worker of stormers) worker.send({ ms: STORM });
  const together = (sum(await Promise.all(counts)) * 1000) / STORM;
  const listener = start('listen');
  await once(listener, 'message');
  const echo = await ask('echo');
  listener.process.kill();
  await once(listener, 'exit');
  return { single, rate, increments, together, echo };
}

/** The bytes of all stores' memory that the kernel has allocated. */
function provided() {
  const files = fs.readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const name = `/proc/self/fd/${fd}`;
      const { blocks, ino } = fs.statSync(name);
      return fs.readlinkSync(name).includes('rcluster-store') ? [[ino, blocks * 512]] : [];
    } catch (error) {
      // A descriptor that was closed meanwhile.
      if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return [];
      throw error;
    }
  });
  return sum([...new Map(/** @type {[number, number][]} */ (files)).values()]);
}

/** Memory of this process alone, in MB. */
function own() {
  const [, kB] = /^RssAnon:\s+(\d+) kB$/m.exec(fs.readFileSync('/proc/self/status', 'utf8')) ?? [];
  return Number(kB) / 1024;
}

/** @param {number} keys */
async function measureMemory(keys) {
  const size = `${Math.ceil((keys * 300) / 2 ** 20) + 1}MB`;
  cluster.shared('many', { size });
  let before = provided();
  const bytes = await ask('fill', { BENCH_KEYS: `${keys}`, BENCH_SIZE: size });
  const many = (provided() - before) / bytes;
  cluster.shared('churn', { size: '16MB', eviction: 'lru' });
  await ask('churn');
  const [growths, churns] = [[], []].map((list) => /** @type {number[]} */ (list));
  for (let round = 0; round < 3; round++) {
    before = own();
    const result = await ask('churn');
    if (!(result.evicted > 0 && result.expired > 0 && result.bytes <= result.limit)) {
      throw new Error(`nothing had to go: ${JSON.stringify(result)}`);
    }
    growths.push(own() - before);
    churns.push(cluster.shared('churn').stats().memory / (16 * 2 ** 20));
  }
  return { many, churn: Math.max(...churns), growth: median(growths) };
}
