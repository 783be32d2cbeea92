'use strict';

// Requests with the scope 'all' by a Redis Cluster, and by servers under Sentinel: all machines are counted, even after the server
// that they share has changed.

const assert = require('node:assert');
const { test } = require('node:test');
const { connected, join } = require('../helpers/asking.js');
const { startMembers } = require('../helpers/members.js');
const { startRedisCluster, startSentinel, withoutRedis } = require('../../testing/redis.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

/** @typedef {import('../../testing/redis.js').RedisServer} RedisServer */

const skip = isBuiltin ? 'the built-in exchanges no messages' : withoutRedis;

/** The key whose slot leads all machines to the same node. */
const KEY = 'rcluster:{leases}:server';

/** @param {RedisServer} server */
const subscribers = async (server) =>
  (await server.command('PUBSUB', 'NUMSUB', 'rcluster:messages:0:requests'))[1];

/**
 * @template {{ url: string, close: () => Promise<void> }} Group
 * @param {Group} group
 * @param {(group: Group, members: import('../helpers/members.js').Member[]) => Promise<void>} body
 */
async function withMembers(group, body) {
  const members = await startMembers(3);
  try {
    await Promise.all(members.map((member, place) => join(member, group.url, place)));
    await connected(members);
    await body(group, members);
  } finally {
    await Promise.all(members.map((member) => member.stop()));
    await group.close();
  }
}

test(
  'all machines are connected with one node of a Redis Cluster, even after its slot moves',
  { skip },
  async () =>
    withMembers(await startRedisCluster(), async (cluster, members) => {
      const from = await cluster.nodeOf(KEY);
      assert.strictEqual(await subscribers(from), members.length);
      const to = cluster.nodes.find((node) => node !== from);
      assert.ok(to);
      const slot = await from.command('CLUSTER', 'KEYSLOT', KEY);
      const ids = [await from.command('CLUSTER', 'MYID'), await to.command('CLUSTER', 'MYID')];
      await to.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids[0]);
      await from.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids[1]);
      for (const node of [to, from]) await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', ids[1]);
      await until('all have gone there', async () => (await subscribers(to)) === members.length);
      // The server detects the end of the old connections by itself.
      await until('none is left here', async () => (await subscribers(from)) === 0);
      await connected(members);
    }),
);

test('all machines are connected with the server that the sentinels name', { skip }, async () =>
  withMembers(await startSentinel(), async (group, members) => {
    const next = await group.failover();
    await until('all have gone there', async () => (await subscribers(next)) === members.length);
    await connected(members);
  }),
);
