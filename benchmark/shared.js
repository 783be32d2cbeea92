'use strict';

// What a shared store costs: reading, writing, and the way from a write to a watcher in another process.
// `node benchmark/shared.js`; nothing of it is written anywhere.

const cluster = require('..');

const KEYS = 30_000;
const options = { size: '128MB' };
const key = (/** @type {number} */ i) => `user:${i}`;

/** @param {number[]} sorted @param {number} share */
const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

/** @param {string} what @param {number[]} times in µs */
function report(what, times) {
  const sorted = times.toSorted((a, b) => a - b);
  const [median, tail] = [at(sorted, 0.5), at(sorted, 0.99)].map((time) => time.toFixed(1));
  console.log(`${what}: p50 ${median} µs, p99 ${tail} µs`);
}

const now = () => Number(process.hrtime.bigint()) / 1000;

/** @param {string} what @param {(key: string) => unknown} read */
function reads(what, read) {
  const keys = Array.from({ length: KEYS }, (_, i) => key(i));
  const rounds = [];
  let found = 0;
  for (let round = 0; round < 15; round++) {
    // CPU time: what else runs on the machine does not count.
    const start = process.cpuUsage();
    for (const name of keys) found += read(name) === undefined ? 0 : 1;
    const { user, system } = process.cpuUsage(start);
    rounds.push(((user + system) * 1000) / KEYS);
  }
  console.log(`${what}: ${Math.min(...rounds).toFixed(0)} ns of CPU (${found / 15} found)`);
}

async function writer() {
  const store = cluster.shared('numbers', options);
  const single = [];
  for (let i = 0; i < 5000; i++) {
    const start = now();
    await store.set('one', i);
    single.push(now() - start);
  }
  report('set, one at a time, from a worker', single);
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
    console.log(`${what}, pipelined, from one worker: ${Math.round(Math.max(...rates))} a second`);
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
  report('set → a watcher in another, idle worker', delays);
  process.disconnect?.();
}

async function watcher() {
  const heard = cluster.shared('heard', options);
  for await (const event of heard.watch({ key: 'question' })) {
    if (event.type === 'set') void heard.set('answer', now() - event.value);
  }
}

async function main() {
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
  reads('Map.get of a number', (name) => map.get(name));
  reads('get of a number', (name) => store.get(name));
  const [strings, objects] = [cluster.shared('strings'), cluster.shared('objects')];
  reads('get of a string of 32 characters', (name) => strings.get(name));
  const text = JSON.stringify({ id: 1, name: 'a name', tags: ['a', 'b'], active: true });
  reads('JSON.parse of an object', () => JSON.parse(text));
  reads('get of an object', (name) => objects.get(name));
  reads('get of a key that has nothing', (name) => strings.get(`no ${name}`));
  const idle = cluster.fork({ ROLE: 'watcher' });
  await new Promise((resolve) => idle.once('online', resolve));
  cluster.fork({ ROLE: 'writer' }).once('exit', () => process.exit());
}

if (cluster.isPrimary) void main();
else if (process.env.ROLE === 'writer') void writer();
else void watcher();
