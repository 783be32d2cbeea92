'use strict';

// Requests with the scope 'all' end, whatever happens to the callers, to the called workers, and to the server.

const assert = require('node:assert');
const { test } = require('node:test');
const {
  join,
  ask,
  numbers,
  connected,
  withMembers,
  begin,
  outcome,
  called,
  answer,
  aborted,
} = require('../helpers/asking.js');
const { startMembers } = require('../helpers/members.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { startLink } = require('../../testing/redis/link.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in exchanges no messages' : withoutRedis;

test('a machine that is killed meanwhile has an outcome that says so', { skip }, () =>
  withMembers(3, async (_, [one, other, third]) => {
    await begin(one, 'all', 'slow');
    await Promise.all([one, other, third].map((member) => called(member)));
    await Promise.all([one, third].map(answer));
    await other.stop();
    const results = await outcome(one);
    const codes = results.map((/** @type {any} */ it) => it.code ?? it.value).sort();
    assert.deepStrictEqual(codes, [0, 2, 'ERR_RCLUSTER_GONE'].sort());
    // It is no longer called.
    assert.deepStrictEqual(numbers(await ask(one, 'all', 'who')), [0, 2]);
  }),
);

test('handlers are aborted when the requesting machine is killed', { skip }, () =>
  withMembers(2, async (_, [one, other]) => {
    await begin(one, 'all', 'slow');
    await called(other);
    await one.stop();
    await aborted(other);
  }),
);

test('an aborted or late request is cancelled everywhere, and reports what is missing', { skip }, () =>
  withMembers(2, async (_, [one, other]) => {
    await begin(one, 'all', 'slow');
    await called(other);
    await one.run(({ kept }) => kept.controller.abort());
    assert.deepStrictEqual(await outcome(one), { rejected: 'AbortError' });
    await aborted(other);
    await Promise.all([one, other].map((member) => member.run(({ kept }) => void (kept.slow = []))));
    await begin(one, 'all', 'slow', { timeout: 2000 });
    const results = await outcome(one);
    assert.deepStrictEqual(
      results.map((/** @type {any} */ it) => [it.isElsewhere, it.worker, it.code]),
      [
        [false, 0, 'ERR_RCLUSTER_TIMEOUT'],
        [true, 0, 'ERR_RCLUSTER_TIMEOUT'],
      ],
    );
    assert.match(results[1].message, /within 2000 ms: the primary of the machine [0-9a-f]{32}$/);
    await aborted(other);
  }),
);

test('requests that are pending when the server restarts end, and later ones are answered', { skip }, () =>
  withMembers(2, async (server, [one, other]) => {
    await begin(one, 'all', 'slow');
    await called(other);
    await answer(one);
    await server.kill();
    const results = await outcome(one);
    assert.deepStrictEqual(
      results.map((/** @type {any} */ it) => [it.isElsewhere, it.worker, it.value ?? it.code]),
      [
        [false, 0, 0],
        [true, 0, 'ERR_RCLUSTER_DISCONNECTED'],
      ],
    );
    await aborted(other);
    // Without a server a request does not wait for long. The workers of this machine answer.
    const [own, others] = await ask(one, 'all', 'who');
    assert.deepStrictEqual([own.value.number, others.reason.code], [0, 'ERR_RCLUSTER_DISCONNECTED']);
    assert.ok(!('worker' in others) && !('machine' in others), 'no worker is meant');
    assert.match(others.reason.message, /there is no connection with the server: .+/);
    await assert.rejects(ask(one, { leader: 'cron' }, 'who'), { code: 'ERR_RCLUSTER_DISCONNECTED' });
    await server.restart();
    await connected([one, other]);
  }),
);

test(
  'a machine that loses its connection cancels the calls of others, for which it is gone',
  { skip },
  async () => {
    const server = await startRedis();
    const link = await startLink(server);
    const members = await startMembers(2);
    const [one, other] = members;
    try {
      await join(one, server.url, 0);
      await join(other, link.url, 1);
      await connected(members);
      await begin(one, 'all', 'slow');
      await called(other);
      await answer(one);
      link.cut();
      await aborted(other);
      const results = await outcome(one);
      assert.deepStrictEqual(
        results.map((/** @type {any} */ it) => it.value ?? it.code),
        [0, 'ERR_RCLUSTER_GONE'],
      );
      link.heal();
      await connected(members);
    } finally {
      await Promise.all(members.map((member) => member.stop()));
      await link.close();
      await server.close();
    }
  },
);

test('arbitrary publications are ignored', { skip }, () =>
  withMembers(2, async (server, members) => {
    const prefix = 'rcluster:messages:0:';
    const machine = 'f'.repeat(32);
    const topics = (await server.command('PUBSUB', 'CHANNELS', `${prefix}*`)).filter(
      (/** @type {string} */ topic) => topic.includes('machine:') || topic.endsWith('requests'),
    );
    assert.strictEqual(topics.length, 3, `${topics}`);
    const script = `
      for _, topic in ipairs(KEYS) do
        for kind = 0, 255 do
          for length = 0, 40 do
            local rest = string.rep(string.char(length % 3), length)
            redis.call('PUBLISH', topic, string.char(1, kind) .. ARGV[1] .. rest)
          end
        end
        redis.call('PUBLISH', topic, string.rep('x', 1000000))
      end`;
    await server.command('EVAL', script, topics.length, ...topics, machine);
    await connected(members);
  }),
);
