'use strict';

// A user of the server with only the rights that docs/redis.md names.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { startMembers } = require('../helpers/members.js');
const { until } = require('../../testing/processes.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in has no shared stores' : withoutRedis;

/**
 * The rules of a user in the documentation.
 * @param {string} name
 */
function rulesOf(name) {
  const text = fs.readFileSync(path.join(__dirname, '..', '..', 'docs', 'redis.md'), 'utf8');
  const [, rules] = new RegExp(`^ACL SETUSER ${name} (.*(?:\\n {2}.*)*)`, 'm').exec(text) ?? [];
  assert.ok(rules, `there are rules of ${name}`);
  return rules.replaceAll('PASSWORD', 'geheim').replaceAll('NAME', 'store').split(/\s+/);
}

/**
 * Two machines with such a user.
 * @param {import('node:test').TestContext} t
 * @param {string} name
 */
async function start(t, name) {
  const server = await startRedis();
  t.after(() => server.close());
  await server.command('ACL', 'SETUSER', name, ...rulesOf(name));
  const backend = server.url.replace('//', `//${name}:geheim@`);
  const members = await startMembers(2);
  t.after(() => Promise.all(members.map((member) => member.stop())));
  for (const member of members) {
    await member.run(({ cluster }, backend) => void cluster.setupPrimary({ backend }), backend);
  }
  /** Asserts that the server has refused nothing to the user. */
  const assertNothingRefused = async () => assert.deepStrictEqual(await server.command('ACL', 'LOG'), []);
  return { server, backend, members, assertNothingRefused };
}

test('a store needs no others', { skip }, async (t) => {
  const { server, backend, members, assertNothingRefused } = await start(t, 'stores');
  await members[0].open('store', { backend });
  await members[1].open('store', { backend: `redis+unix://stores:geheim@${server.path}` });
  for (const member of members) {
    await member.run(async ({ kept: { store } }) => {
      await store.set('a', 1, { ttl: 600_000 });
      await store.set('a', 1);
      await store.increment('b', 1, { ttl: 600_000 });
      await store.touch('b', 600_000);
      await store.delete('b');
      await store.set('c:1', 1, { ttl: 600_000 });
      await store.clear({ prefix: 'c:' });
      const expired = new Promise((resolve) =>
        store.on('change', ({ type }) => type === 'expire' && resolve(0)),
      );
      await store.set('d', 1, { ttl: 1 });
      await expired;
      await store.read('a');
      await store.clear();
    });
  }
  await server.command('SCRIPT', 'FLUSH');
  await members[0].run(({ kept: { store } }) => store.set('a', 1));
  await assertNothingRefused();
});

test('locks and leaders need no others', { skip }, async (t) => {
  const { server, members, assertNothingRefused } = await start(t, 'locks');
  const [one, other] = members;
  await one.run(
    ({ cluster, kept }) =>
      new Promise((granted) => {
        void cluster.locks.request('lock', { scope: 'all', ttl: 10_000 }, () => {
          granted(true);
          return new Promise((resolve) => (kept.end = resolve));
        });
      }),
  );
  const waits = other.run(({ cluster }) => cluster.locks.request('lock', { scope: 'all' }, () => 'held'));
  const refused = await one.run(({ cluster }) =>
    cluster.locks.request('lock', { scope: 'all', ifAvailable: true }, (lock) => lock),
  );
  assert.strictEqual(refused, null);
  await server.command('CONFIG', 'RESETSTAT');
  for (const command of ['ping', 'evalsha']) {
    await until(`it has sent ${command}`, async () =>
      (await server.info('INFO', 'commandstats')).includes(`cmdstat_${command}:`),
    );
  }
  // The other machine is notified of the release.
  await one.run(({ kept }) => kept.end());
  assert.strictEqual(await waits, 'held');
  await other.run(({ cluster }) => cluster.locks.request('lock', { scope: 'all', steal: true }, () => true));
  await assertNothingRefused();
});

test('messages need no others', { skip }, async (t) => {
  const { members, assertNothingRefused } = await start(t, 'messages');
  for (const member of members) {
    await member.run(({ cluster, kept }) => {
      cluster.handle('name', (data) => data);
      kept.channel = new cluster.BroadcastChannel('channel', { scope: 'all' });
    });
  }
  const values = await members[0].run(async ({ cluster }) => {
    let all = [];
    // The other machine is called as soon as it has subscribed.
    while (all.length < 2) all = await cluster.request('all', 'name', 7, { scope: 'all' });
    return all.map(({ value }) => value);
  });
  assert.deepStrictEqual(values, [7, 7]);
  await assertNothingRefused();
});

test('a waiting request learns that a command is forbidden', { skip }, async (t) => {
  const { server, members } = await start(t, 'locks');
  await server.command('ACL', 'SETUSER', 'locks', '-hset');
  await assert.rejects(
    members[0].run(({ cluster }) => cluster.locks.request('lock', { scope: 'all' }, () => true)),
    { code: 'ERR_RCLUSTER_DISCONNECTED', message: /permission|can't run this command|ACL failure/ },
  );
});
