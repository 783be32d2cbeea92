'use strict';

// A server that refuses writes, because it is out of memory or has too few replicas: machines stay connected, and new ones
// load what there is.

const assert = require('node:assert');
const { test } = require('node:test');
const { startMembers } = require('../helpers/members.js');
const { until } = require('../../testing/processes.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in has no shared stores' : withoutRedis;

/**
 * A machine with a store on a new server.
 * @param {import('node:test').TestContext} t
 * @param {object} [redis]
 */
async function start(t, redis) {
  const server = await startRedis(redis);
  t.after(() => server.close());
  const [member, late] = await startMembers(2);
  t.after(() => Promise.all([member.stop(), late.stop()]));
  await member.open('store', { backend: server.url });
  await member.run(async ({ kept }) => {
    kept.told = [];
    for (const name of ['connect', 'disconnect', 'resync']) kept.store.on(name, () => kept.told.push(name));
    await Promise.all(['a', 'b', 'c'].map((key) => kept.store.set(key, 1)));
  });
  return { server, member, late };
}

/**
 * Waits until a machine has polled the server several times, or has lost the connection.
 * @param {Awaited<ReturnType<typeof start>>} started
 */
async function someBeats({ server, member }) {
  const polls = async () =>
    Number(/cmdstat_exists:calls=(\d+)/.exec(await server.info('INFO', 'commandstats'))?.[1] ?? 0);
  const before = await polls();
  await until('the server is polled', async () => {
    const told = await member.run(({ kept }) => kept.told.length);
    return told > 0 || (await polls()) >= before + 4;
  });
}

/** What becomes of requests. @param {any} there */
function attempts({ kept: { store } }) {
  const outcome = (/** @type {Promise<any>} */ promise) =>
    promise.then(
      () => 'done',
      ({ code }) => code,
    );
  return Promise.all([
    outcome(store.set('d', 'x'.repeat(1000))),
    outcome(store.read('a')),
    outcome(store.delete('b')),
  ]);
}

/** @param {any} there */
const seen = ({ kept: { told, store } }) => [told, store.keys().sort()];

test('a server over its memory limit loses no machine, and new ones load the store', { skip }, async (t) => {
  const started = await start(t, { maxmemory: 8 << 20 });
  const { server, member, late } = started;
  await server.fill();
  // It is now over its limit, as after writes of others: it refuses even to queue commands of a transaction.
  await server.command('CONFIG', 'SET', 'maxmemory', 1 << 20);
  await someBeats(started);
  assert.deepStrictEqual(await member.run(attempts), ['ERR_RCLUSTER_FULL', 'done', 'done']);
  await late.open('store', { backend: server.url });
  assert.deepStrictEqual(
    await late.run(({ kept: { store } }) => store.delete('c').then(({ ok }) => ok)),
    true,
  );
  await member.run(({ kept: { store } }) => store.read('a'));
  assert.deepStrictEqual(await member.run(seen), [[], ['a']]);
});

test('a server with too few replicas loses no machine, and answers reads', { skip }, async (t) => {
  const started = await start(t);
  const { server, member } = started;
  await server.command('CONFIG', 'SET', 'min-replicas-to-write', 1);
  await someBeats(started);
  const refused = 'ERR_RCLUSTER_BACKEND';
  assert.deepStrictEqual(await member.run(attempts), [refused, 'done', refused]);
  await server.command('CONFIG', 'SET', 'min-replicas-to-write', 0);
  await member.run(({ kept: { store } }) => store.delete('c'));
  assert.deepStrictEqual(await member.run(seen), [[], ['a', 'b']]);
});
