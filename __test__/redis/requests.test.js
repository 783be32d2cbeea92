'use strict';

// Requests with the scope 'all': requests of one cluster are answered by the workers of all clusters that share a server, or by
// the leader.

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { ask, withMembers, begin, outcome, called, lead } = require('../helpers/asking.js');
const { startMembers, whileBlocked } = require('../helpers/members.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const ASKS = path.join(__dirname, '..', 'fixtures', 'redis', 'asks.js');

const skip = isBuiltin ? 'the built-in exchanges no messages' : withoutRedis;

test('all workers of all machines answer, with the name of their machine', { skip }, () =>
  withMembers(3, async (_, members) => {
    const results = await ask(members[0], 'all', 'who', { text: 'hello' });
    const values = results.map((/** @type {any} */ it) => it.value).sort((a, b) => a.number - b.number);
    assert.deepStrictEqual(
      values,
      [0, 1, 2].map((number) => ({
        number,
        data: { text: 'hello' },
        worker: 0,
        elsewhere: number !== 0,
      })),
    );
    const [own, ...others] = results;
    assert.deepStrictEqual([own.machine, own.worker, own.status], [undefined, 0, 'fulfilled']);
    const names = others.map((/** @type {any} */ it) => it.machine);
    assert.ok(names[0] < names[1] && names.every((name) => /^[0-9a-f]{32}$/.test(name)), `${names}`);
    // A machine has the same name in the results of all callers.
    const again = await ask(members[0], 'all', 'who');
    assert.deepStrictEqual(
      again.map((/** @type {any} */ it) => it.machine),
      [undefined, ...names],
    );
    assert.ok(
      (await ask(members[1], 'all', 'who')).some((/** @type {any} */ it) => names.includes(it.machine)),
    );
  }),
);

test('errors of handlers, and missing handlers, are outcomes as on one machine', { skip }, () =>
  withMembers(2, async (_, [one, other]) => {
    const failed = await ask(one, 'all', 'fails');
    const reasons = failed.map((/** @type {any} */ it) => it.reason);
    const reason = { code: 'ERR_ON_PURPOSE', message: 'on purpose' };
    assert.deepStrictEqual(reasons, [reason, reason]);
    // A worker without the handler reports that; a primary without workers does not count.
    assert.deepStrictEqual(await ask(one, 'all', 'unknown'), []);
    await other.run(({ cluster }, exec) => {
      cluster.setupPrimary({ exec, args: [] });
      const worker = cluster.fork();
      return new Promise((resolve) => worker.once('message', () => resolve(true)));
    }, ASKS);
    const [{ machine, worker, reason: none }] = await ask(one, 'all', 'unknown');
    assert.deepStrictEqual([worker, none.code], [1, 'ERR_RCLUSTER_NO_HANDLER']);
    assert.ok(none.message.includes(`worker 1 of the machine ${machine}`), none.message);
    const [{ value }] = await ask(one, 'all', 'pid');
    assert.strictEqual(typeof value, 'number');
  }),
);

test('large values arrive whole, and larger ones are refused', { skip }, () =>
  withMembers(2, async (_, [one]) => {
    const data = 'x'.repeat((4 << 20) - 100);
    const results = await one.run(async ({ cluster }, length) => {
      const results = await cluster.request('all', 'who', 'x'.repeat(length), { scope: 'all' });
      return results.map((/** @type {any} */ it) => it.value.data.length);
    }, data.length);
    assert.deepStrictEqual(results, [data.length, data.length]);
    await assert.rejects(
      ask(one, 'all', 'length', 5 << 20).then(([, { reason }]) => Promise.reject(reason)),
      {
        code: 'ERR_RCLUSTER_MESSAGE_TOO_LARGE',
      },
    );
    await assert.rejects(
      one.run(({ cluster }) => cluster.request('all', 'who', 'x'.repeat(5 << 20), { scope: 'all' })),
      { code: 'ERR_RCLUSTER_MESSAGE_TOO_LARGE' },
    );
  }),
);

test('the leader answers on whichever machine it is', { skip }, () =>
  withMembers(2, async (_, [one, other]) => {
    await assert.rejects(ask(one, { leader: 'cron' }, 'who'), { code: 'ERR_RCLUSTER_NO_LEADER' });
    await lead(other, 'cron');
    const who = { number: 1, data: 'hello', worker: 0 };
    assert.deepStrictEqual(await ask(one, { leader: 'cron' }, 'who', 'hello'), { ...who, elsewhere: true });
    assert.deepStrictEqual(await ask(other, { leader: 'cron' }, 'who', 'hello'), {
      ...who,
      elsewhere: false,
    });
    await assert.rejects(ask(one, { leader: 'cron' }, 'fails'), { code: 'ERR_ON_PURPOSE' });
    await assert.rejects(ask(one, { leader: 'cron' }, 'unknown'), { code: 'ERR_RCLUSTER_NO_HANDLER' });
    await assert.rejects(ask(one, { leader: 'cron' }, 'slow', undefined, 300), {
      code: 'ERR_RCLUSTER_TIMEOUT',
    });
    // A leader of this machine is separate.
    await assert.rejects(
      other.run(({ cluster }) => cluster.request({ leader: 'cron' }, 'who')),
      { code: 'ERR_RCLUSTER_NO_LEADER' },
    );
    for (const member of [one, other]) {
      await member.run(
        ({ cluster }, data) => cluster.notify({ leader: 'cron' }, 'told', data, { scope: 'all' }),
        [member === one ? 'from one' : 'from other'],
      );
    }
    await until('it is told', () => other.run(({ kept }) => kept.told.length === 2));
    const told = await other.run(({ kept }) => kept.told.sort());
    assert.deepStrictEqual(told, [
      [['from one'], 0, true],
      [['from other'], 0, false],
    ]);
    assert.deepStrictEqual(await one.run(({ kept }) => kept.told), []);
    // The next leader answers when it has died.
    await other.run(({ kept }) => void (kept.slow = []));
    await begin(one, { leader: 'cron' }, 'slow');
    await called(other);
    await other.stop();
    assert.deepStrictEqual(await outcome(one), { rejected: 'ERR_RCLUSTER_GONE' });
    await lead(one, 'cron');
    assert.strictEqual((await ask(one, { leader: 'cron' }, 'who')).number, 0);
  }),
);

test('workers call each other while the JavaScript of both primaries is blocked', { skip }, async () => {
  assert.deepStrictEqual(await whileBlocked(ASKS, [['2'], []]), [true, true]);
});

test('other targets, and a cluster without a server, are refused', { skip }, async () => {
  const [member] = await startMembers(1);
  const server = await startRedis();
  try {
    const codes = () =>
      member.run(async ({ cluster }) => {
        const options = { scope: 'all' };
        const code = async (/** @type {() => any} */ act) => {
          try {
            return await act();
          } catch (error) {
            return /** @type {any} */ (error).code;
          }
        };
        const targets = [1, { slot: 0 }, 'any', 'primary', 'all', { leader: 'cron' }];
        const all = [];
        for (const target of targets) all.push(await code(() => cluster.request(target, 'name', 1, options)));
        for (const target of targets.slice(0, 4)) {
          all.push(await code(() => cluster.notify(target, 'name', 1, options)));
        }
        return [...all, await code(() => cluster.request('all', 'name', 1, { scope: 'some' }))];
      });
    const invalid = 'ERR_INVALID_ARG_VALUE';
    const others = Array.from({ length: 5 }, () => invalid);
    const none = 'ERR_RCLUSTER_NO_BACKEND';
    assert.deepStrictEqual(await codes(), [...others.slice(1), none, none, ...others]);
    await member.run(({ cluster }, backend) => cluster.setupPrimary({ backend }), server.url);
    assert.deepStrictEqual(await codes(), [...others.slice(1), [], 'ERR_RCLUSTER_NO_LEADER', ...others]);
  } finally {
    await member.stop();
    await server.close();
  }
});
