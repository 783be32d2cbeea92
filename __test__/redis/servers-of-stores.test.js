'use strict';

// shared() with a backend behind TLS, under Sentinel, and in a Redis Cluster.

const assert = require('node:assert');
const fs = require('node:fs');
const { test } = require('node:test');
const { startMembers } = require('../helpers/members.js');
const { until } = require('../../testing/processes.js');
const {
  startRedis,
  startRedisCluster,
  startSentinel,
  withoutRedis,
  withoutTls,
} = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in has no shared stores' : withoutRedis;

/**
 * Increments a number that times, and returns how often the result is unknown: the server has executed the increment, and
 * was killed before its replica and this machine had it.
 * @param {any} there
 * @param {number} times
 */
async function tryToAdd({ kept: { store } }, times) {
  let unknown = 0;
  for (let i = 0; i < times; i += 1) {
    await store.increment('sum').catch((/** @type {any} */ error) => {
      if (error.code !== 'ERR_RCLUSTER_DISCONNECTED') throw error;
      unknown += 1;
    });
  }
  return unknown;
}

/** Increments a number, and returns the result. @param {any} there @param {number} times */
async function add({ kept: { store } }, times) {
  let sum;
  for (let i = 0; i < times; i += 1) sum = await store.increment('sum');
  return sum;
}

test(
  'TLS: a server with a certificate of its own, and a password',
  { skip: skip || withoutTls },
  async (t) => {
    const server = await startRedis({ tls: true, requirepass: 'geheim/%' });
    t.after(() => server.close());
    const [member] = await startMembers(1);
    t.after(() => member.stop());
    const ca = fs.readFileSync(server.certificates.ca, 'utf8');
    await member.open('store', { backend: { url: server.url, tls: { ca } } });
    assert.strictEqual(await member.run(add, 3), 3);
    const refused = await member.run(async ({ cluster }, url) => {
      const store = cluster.shared('untrusted', { backend: url, offline: { wait: 500 } });
      return store.set('key', 1).then(
        () => 'done',
        (error) => [error.code, error.message],
      );
    }, server.url);
    assert.strictEqual(refused[0], 'ERR_RCLUSTER_DISCONNECTED');
    assert.match(refused[1], /certificate/i);
  },
);

test('TLS: the error names a server without TLS', { skip }, async (t) => {
  const server = await startRedis();
  t.after(() => server.close());
  const [member] = await startMembers(1);
  t.after(() => member.stop());
  await member.run(
    ({ cluster, kept }, backend) => {
      kept.store = cluster.shared('store', { backend });
    },
    server.url.replace('redis:', 'rediss:'),
  );
  await until('it is said', () =>
    member.run(({ kept: { store } }) => /does the server expect TLS/.test(store.stats().backend.error)),
  );
});

test('Sentinel: the store follows its primary to another server', { skip }, async (t) => {
  const group = await startSentinel();
  t.after(() => group.close());
  const members = await startMembers(2);
  t.after(() => Promise.all(members.map((member) => member.stop())));
  const options = { backend: group.url, offline: { wait: 60_000 } };
  await Promise.all(members.map((member) => member.open('store', options)));
  await Promise.all(members.map((member) => member.run(add, 20)));
  // Both servers have all data before one of them is killed.
  const primary = await group.primary();
  const replica = group.servers.find((server) => server !== primary);
  await primary.replicatedTo(replica);
  const adding = members.map((member) => member.run(tryToAdd, 20));
  await group.failover();
  // No increment waits for the whole of `offline.wait`, and each machine has at most one in flight.
  for (const unknown of await Promise.all(adding)) assert.ok(unknown <= 1, `${unknown}`);
  const sums = await Promise.all(
    members.map((member) => member.run(({ kept: { store } }) => store.read('sum'))),
  );
  assert.strictEqual(sums[0], sums[1]);
  // Writes that were acknowledged but not replicated are lost with the server: Redis guarantees no more.
  assert.ok(sums[0] >= 40 && sums[0] <= 80, `${sums[0]}`);
});

test('Cluster: stores are on the nodes that have their slots', { skip }, async (t) => {
  const group = await startRedisCluster();
  t.after(() => group.close());
  const [member] = await startMembers(1);
  t.after(() => member.stop());
  for (const name of ['a', 'b', 'c', 'd']) {
    await member.open(name, { backend: group.url });
    assert.strictEqual(await member.run(add, 2), 2);
    const key = `rcluster:{${name}}:values`;
    const node = await group.nodeOf(key);
    assert.strictEqual(await node.command('HLEN', key), 1);
  }
});
