'use strict';

/**
 * The packages that shared stores are compared with, if they are installed: lmdb, Redis and
 * rate-limiter-flexible.
 */

const { fork, spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const { createRequire } = require('node:module');
const os = require('node:os');
const path = require('node:path');
const { KEYS, keyOf, now, pipelined } = require('./shared');
const { median } = require('../../testing/stats.js');

/**
 * A package of the folder; undefined, and a line in `lacking`, if it is missing.
 * @param {string} folder
 * @param {string} name
 * @param {string[]} lacking
 */
function load(folder, name, lacking) {
  try {
    return createRequire(path.join(folder || '/nowhere', 'package.json'))(name);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'MODULE_NOT_FOUND') throw error;
    lacking.push(`${name} is not installed in the folder of --compare (${folder || 'none was given'})`);
    return undefined;
  }
}

/**
 * @param {string} folder
 * @param {string[]} lacking
 * @returns {Promise<{ number: (key: string) => unknown, text: (key: string) => unknown } | undefined>}
 */
async function openLmdb(folder, lacking) {
  const lmdb = load(folder, 'lmdb', lacking);
  if (lmdb === undefined) return undefined;
  const place = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-bench-'));
  process.once('exit', () => fs.rmSync(place, { recursive: true, force: true }));
  const [numbers, strings] = ['numbers', 'strings'].map((name) =>
    lmdb.open({ path: path.join(place, name) }),
  );
  for (let i = 0; i < KEYS; i++) {
    void numbers.put(keyOf(i), i);
    void strings.put(keyOf(i), `a string of 32 characters ${i}`.padEnd(32));
  }
  await Promise.all([numbers.flushed, strings.flushed]);
  return { number: (key) => numbers.get(key), text: (key) => strings.get(key) };
}

/**
 * @param {string} folder
 * @param {string[]} lacking
 * @returns {Promise<{ get: number, increments: { median: number, max: number } } | undefined>} µs for one `get`, and a
 * second
 */
async function measureRedis(folder, lacking) {
  const Redis = load(folder, 'ioredis', lacking);
  if (Redis === undefined) return undefined;
  const port = 20_000 + (process.pid % 20_000);
  const server = spawn('redis-server', ['--port', `${port}`, '--bind', '127.0.0.1', '--save', ''], {
    stdio: 'ignore',
  });
  process.once('exit', () => server.kill());
  const failed = once(server, 'error').then(([error]) => error);
  const started = await Promise.race([failed, once(server, 'spawn').then(() => undefined)]);
  if (started?.code === 'ENOENT') {
    lacking.push('redis-server is not installed');
    return undefined;
  }
  if (started !== undefined) throw started;
  const client = new Redis({ port, host: '127.0.0.1', maxRetriesPerRequest: 100 });
  await client.set('one', 1);
  const times = [];
  for (let i = 0; i < 5000; i++) {
    const start = now();
    await client.get('one');
    times.push(now() - start);
  }
  const increments = await pipelined(() => client.incr('count'));
  client.disconnect();
  server.kill();
  return { get: median(times), increments };
}

/**
 * @param {string} folder
 * @param {string[]} lacking
 * @returns {Promise<{ median: number, max: number } | undefined>} a second
 */
async function measureLimiter(folder, lacking) {
  if (load(folder, 'rate-limiter-flexible', lacking) === undefined) return undefined;
  const script = path.join(__dirname, '..', 'fixtures', 'limiter.js');
  const child = fork(script, { env: { ...process.env, BENCH_COMPARE: path.resolve(folder) } });
  process.once('exit', () => child.kill());
  const [{ rate }] = await once(child, 'message');
  return rate;
}

module.exports = { measureLimiter, measureRedis, openLmdb };
