'use strict';

/** What a shared store costs: reading, writing, and the way from a write to a watcher in another process. */

const { once } = require('node:events');
const cluster = require('..');
const { percentile } = require('../testing/stats.js');
const { print } = require('../testing/tables.js');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');

/** What was measured, and the figure with its unit. @typedef {[what: string, figure: string]} Row */

const KEYS = 30_000;
const options = { size: '128MB' };
const key = (/** @type {number} */ i) => `user:${i}`;

/**
 * @param {string} what
 * @param {number[]} times in µs
 * @returns {Row}
 */
function summary(what, times) {
  const [median, tail] = [50, 99].map((percent) => percentile(times, percent).toFixed(1));
  return [what, `p50 ${median} µs, p99 ${tail} µs`];
}

const now = () => Number(process.hrtime.bigint()) / 1000;

/**
 * @param {number} rounds
 * @param {string} what
 * @param {(key: string) => unknown} read
 * @returns {Row} of the quickest round
 */
function reads(rounds, what, read) {
  const keys = Array.from({ length: KEYS }, (_, i) => key(i));
  const costs = [];
  let found = 0;
  for (let round = 0; round < rounds; round++) {
    // CPU time: what else runs on the machine does not count.
    const start = process.cpuUsage();
    for (const name of keys) found += read(name) === undefined ? 0 : 1;
    const { user, system } = process.cpuUsage(start);
    costs.push(((user + system) * 1000) / KEYS);
  }
  return [what, `${Math.min(...costs).toFixed(0)} ns of CPU (${found / rounds} found)`];
}

async function writer() {
  /** @type {Row[]} */
  const rows = [];
  const store = cluster.shared('numbers', options);
  const single = [];
  for (let i = 0; i < 5000; i++) {
    const start = now();
    await store.set('one', i);
    single.push(now() - start);
  }
  rows.push(summary('set, one at a time, from a worker', single));
  for (const [what, write] of /** @type {[string, (i: number) => Promise<any>][]} */ ([
    ['set', (i) => store.set(key(i % 1000), i)],
    ['increment', () => store.increment('count')],
  ])) {
    const rates = [];
    for (let round = 0; round < 5; round++) {
      const start = now();
      for (let i = 0; i < 100; i++) {
        await Promise.all(Array.from({ length: 500 }, (_, n) => write(i * 500 + n)));
      }
      rates.push(50_000 / ((now() - start) / 1e6));
    }
    rows.push([`${what}, pipelined, from one worker`, `${Math.round(Math.max(...rates))} a second`]);
  }
  const heard = cluster.shared('heard', options);
  const echo = heard.watch({ key: 'answer' });
  await echo.next();
  const delays = [];
  for (let i = 0; i < 3000; i++) {
    const start = now();
    void heard.set('question', start);
    const { value } = await echo.next();
    delays.push(value.value);
    await new Promise(setImmediate);
  }
  rows.push(summary('set → a watcher in another, idle worker', delays));
  process.send?.(rows, () => process.disconnect());
}

async function watcher() {
  const heard = cluster.shared('heard', options);
  for await (const event of heard.watch({ key: 'question' })) {
    if (event.type === 'set') void heard.set('answer', now() - event.value);
  }
}

async function primary() {
  const { rounds, ...others } = readOptions('What a shared store costs.', {
    rounds: { ...flags.rounds, default: 15, help: 'rounds of reading, the quickest of which counts' },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  const store = cluster.shared('numbers', options);
  const map = new Map();
  for (let i = 0; i < KEYS; i++) {
    map.set(key(i), i);
    void store.set(`${key(i)}`, i);
    void cluster.shared('strings', options).set(key(i), `a string of 32 characters ${i}`.padEnd(32));
    await cluster
      .shared('objects', options)
      .set(key(i), { id: i, name: 'a name', tags: ['a', 'b'], active: true });
  }
  const [strings, objects] = [cluster.shared('strings'), cluster.shared('objects')];
  const text = JSON.stringify({ id: 1, name: 'a name', tags: ['a', 'b'], active: true });
  const reading = [
    reads(rounds, 'Map.get of a number', (name) => map.get(name)),
    reads(rounds, 'get of a number', (name) => store.get(name)),
    reads(rounds, 'get of a string of 32 characters', (name) => strings.get(name)),
    reads(rounds, 'JSON.parse of an object', () => JSON.parse(text)),
    reads(rounds, 'get of an object', (name) => objects.get(name)),
    reads(rounds, 'get of a key that has nothing', (name) => strings.get(`no ${name}`)),
  ];
  const idle = cluster.fork({ ROLE: 'watcher' });
  await once(idle, 'online');
  const writing = cluster.fork({ ROLE: 'writer' });
  const [rows] = await once(writing, 'message');
  await once(writing, 'exit');
  idle.process.kill();
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Shared stores',
    about:
      `A store of ${KEYS} keys: reading in the primary, beside what a plain Map and JSON.parse() cost (the quickest of ` +
      `${rounds} rounds); and writing from a worker.`,
    tables: [{ header: ['', 'cost'], rows: [...reading, ...rows] }],
    targets: [],
  };
  publish('shared', section, { machine, options: { rounds, ...others }, reading, writing: rows });
}

if (cluster.isPrimary) run(primary);
else if (process.env.ROLE === 'writer') void writer();
else void watcher();
