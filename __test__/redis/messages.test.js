'use strict';

// Channels and notices with the scope 'all': messages of one cluster reach another one with the same server.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { startMembers, whileBlocked } = require('../helpers/members.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { startLink } = require('../../testing/redis/link.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

/** @typedef {import('../helpers/members.js').Member} Member */

const ECHO = path.join(__dirname, '..', 'fixtures', 'redis', 'echo.js');

const skip = isBuiltin ? 'the built-in exchanges no messages' : withoutRedis;

/**
 * Opens a channel of all machines there, as `kept.channel`, and stores its messages in `kept.heard`.
 * @param {Member} member
 * @param {object} backend
 */
async function join(member, backend) {
  await member.run(({ cluster, kept }, backend) => {
    cluster.setupPrimary({ backend });
    kept.heard = [];
    kept.channel = new cluster.BroadcastChannel('news', { scope: 'all' });
    kept.channel.addEventListener('message', ({ data }) => kept.heard.push(data));
    kept.channel.addEventListener('lag', ({ count }) => kept.heard.push(`lag ${count}`));
  }, backend);
}

/**
 * The local ports of open connections with a port of this machine.
 * @param {number} port
 */
function established(port) {
  const lines = fs.readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1, -1);
  const fields = lines.map((line) => line.trim().split(/\s+/));
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const open = fields.filter(([, , remote, state]) => state === '01' && remote.endsWith(`:${hex}`));
  return new Set(open.map(([, local]) => local));
}

const heard = (/** @type {Member} */ member) => member.run(({ kept }) => kept.heard);
const forget = (/** @type {Member} */ member) => member.run(({ kept }) => void kept.heard.splice(0));
const post = (/** @type {Member} */ member, /** @type {any[]} */ ...all) =>
  member.run(({ kept }, all) => {
    for (const message of all) kept.channel.postMessage(message);
  }, all);

/**
 * Waits until each receives the messages of each, and no message is in transit.
 * @param {Member[]} members
 */
async function connected(members) {
  for (const [place, member] of members.entries()) {
    const mark = `mark ${place}`;
    const others = members.filter((it) => it !== member);
    await until('all hear one', async () => {
      await post(member, mark);
      return (await Promise.all(others.map(heard))).every((all) => all.includes(mark));
    });
    // Messages of one sender arrive in order: this one is the last mark.
    await post(member, `last ${place}`);
    await until('all hear the last mark', async () =>
      (await Promise.all(others.map(heard))).every((all) => all.includes(`last ${place}`)),
    );
  }
  await Promise.all(members.map(forget));
}

/**
 * @param {number} count
 * @param {(server: Awaited<ReturnType<typeof startRedis>>, members: Member[]) => Promise<void>} body
 */
async function withMembers(count, body) {
  const server = await startRedis();
  /** @type {Member[]} */
  let members = [];
  try {
    members = await startMembers(count);
    for (const member of members) await join(member, server.url);
    await connected(members);
    await body(server, members);
  } finally {
    await Promise.all(members.map((member) => member.stop()));
    await server.close();
  }
}

test('each cluster gets the messages of the others once and in order, and not its own', { skip }, () =>
  withMembers(2, async (_, [one, other]) => {
    const numbers = Array.from({ length: 1000 }, (_, number) => number);
    const others = numbers.map((it) => ({ number: it }));
    const large = 'x'.repeat(1e6);
    await Promise.all([post(one, ...numbers), post(other, ...others, large)]);
    await until('both have heard all', async () => {
      const [a, b] = await Promise.all([heard(one), heard(other)]);
      return a.length >= 1001 && b.length >= 1000;
    });
    assert.deepStrictEqual(await heard(other), numbers);
    const all = await heard(one);
    assert.ok(all.pop() === large, 'the large one comes last');
    assert.deepStrictEqual(all, others);
  }),
);

test('a channel of this machine with the same name is separate', { skip }, () =>
  withMembers(2, async (_, [one, other]) => {
    const local = await one.run(async ({ cluster, kept }) => {
      const local = new cluster.BroadcastChannel('news');
      const again = new cluster.BroadcastChannel('news');
      const common = new cluster.BroadcastChannel('news', { scope: 'all' });
      const all = [];
      local.addEventListener('message', ({ data }) => all.push(['local', data]));
      common.addEventListener('message', ({ data }) => all.push(['common', data]));
      again.postMessage('for this machine');
      kept.channel.postMessage('for all');
      while (all.length < 2) await new Promise((resolve) => setImmediate(resolve));
      for (const channel of [local, again, common]) channel.close();
      return all;
    });
    assert.deepStrictEqual(local.sort(), [
      ['common', 'for all'],
      ['local', 'for this machine'],
    ]);
    await until('the other one has heard it', async () => (await heard(other)).length > 0);
    assert.deepStrictEqual([await heard(other), await heard(one)], [['for all'], []]);
  }),
);

test('messages go between workers while the JavaScript of both primaries is blocked', { skip }, async () => {
  assert.deepStrictEqual(await whileBlocked(ECHO, [['asks'], ['answers']]), [true, true]);
});

test('after the server was unreachable, both get a lag event, and continue', { skip }, () =>
  withMembers(2, async (server, [one, other]) => {
    await server.kill();
    await server.restart();
    for (const member of [one, other]) {
      await until('it is told', async () => (await heard(member)).includes('lag 0'));
      await forget(member);
    }
    await post(one, 'again');
    await post(other, 'again');
    for (const member of [one, other]) {
      await until('it hears the other one', async () => (await heard(member)).includes('again'));
      assert.deepStrictEqual(await heard(member), ['again']);
    }
  }),
);

test('a paused server counts as unreachable, and no message arrives twice', { skip }, () =>
  withMembers(2, async (server, [one, other]) => {
    const before = established(server.port);
    server.pause();
    await post(one, 'while it is paused');
    // The first missing answer ends the connections.
    await until('both have given up their connections', () => {
      const now = established(server.port);
      return [...before].every((port) => !now.has(port));
    });
    server.resume();
    for (const member of [one, other]) {
      await until('it is told', async () => (await heard(member)).includes('lag 0'));
    }
    await post(one, 'last');
    await until('it goes on', async () => (await heard(other)).includes('last'));
    const all = (await heard(other)).filter((/** @type {string} */ it) => !it.startsWith('lag'));
    assert.ok(all.filter((/** @type {string} */ it) => it === 'while it is paused').length <= 1, `${all}`);
    assert.strictEqual(all[all.length - 1], 'last');
  }),
);

test(
  'messages that a cluster could not publish are counted, and reported to the others',
  { skip },
  async () => {
    const server = await startRedis();
    const link = await startLink(server);
    const [one, other] = await startMembers(2);
    try {
      await join(one, link.url);
      await join(other, server.url);
      await connected([one, other]);
      // Only one is cut off. It posts more than may wait.
      link.cut();
      await one.run(async ({ kept }) => {
        for (let number = 0; number < 40;) {
          try {
            kept.channel.postMessage('x'.repeat(1 << 20));
            number++;
          } catch (error) {
            // The native thread has not read the earlier messages.
            if (error.code !== 'ERR_RCLUSTER_BUSY') throw error;
            await new Promise((resolve) => setImmediate(resolve));
          }
        }
      });
      link.heal();
      await until('it goes on', async () => {
        await post(one, 'mark');
        return other.run(({ kept }) => kept.heard.includes('mark'));
      });
      const { messages, lost } = await other.run(({ kept }) => {
        const counts = kept.heard.filter((it) => it.startsWith('lag ')).map((it) => Number(it.slice(4)));
        return {
          messages: kept.heard.filter((it) => it.length === 1 << 20).length,
          lost: counts.reduce((sum, count) => sum + count, 0),
        };
      });
      assert.ok(lost > 0 && messages + lost >= 40, `${messages} messages have come, and ${lost} are lost`);
    } finally {
      await Promise.all([one, other].map((member) => member.stop()));
      await link.close();
      await server.close();
    }
  },
);

test('notify() with the scope all reaches the handlers of all machines', { skip }, () =>
  withMembers(3, async (_, members) => {
    for (const member of members) {
      await member.run(({ cluster, kept }) => {
        kept.told = [];
        cluster.handle('told', (data, { worker, elsewhere }) => kept.told.push([data, worker, elsewhere]));
      });
    }
    const told = (/** @type {Member} */ member) => member.run(({ kept }) => kept.told);
    const notify = (/** @type {string} */ data) =>
      members[0].run(({ cluster }, data) => cluster.notify('all', 'told', data, { scope: 'all' }), data);
    await until('all are told', async () => {
      await notify('first');
      return (await Promise.all(members.map(told))).every((all) => all.length > 0);
    });
    await notify('last');
    for (const member of members) {
      await until('it is told the last one', async () =>
        (await told(member)).some((/** @type {any[]} */ it) => it[0] === 'last'),
      );
      const last = (await told(member)).filter((/** @type {any[]} */ it) => it[0] === 'last');
      assert.deepStrictEqual(last, [['last', 0, member !== members[0]]]);
    }
  }),
);

test('messages that cannot be delivered are refused', { skip }, async () => {
  const [member] = await startMembers(1);
  const server = await startRedis();
  try {
    const codes = (/** @type {object} */ options) =>
      member.run(({ cluster }, options) => {
        const code = (/** @type {() => unknown} */ act) => {
          try {
            return act();
          } catch (error) {
            return /** @type {any} */ (error).code;
          }
        };
        return [
          code(() => new cluster.BroadcastChannel('name', options).close()),
          code(() => cluster.notify('all', 'name', 1, options)),
        ];
      }, options);
    assert.deepStrictEqual(await codes({ scope: 'all' }), [
      'ERR_RCLUSTER_NO_BACKEND',
      'ERR_RCLUSTER_NO_BACKEND',
    ]);
    assert.deepStrictEqual(await codes({ scope: 'some' }), [
      'ERR_INVALID_ARG_VALUE',
      'ERR_INVALID_ARG_VALUE',
    ]);
    assert.deepStrictEqual(await codes({ scopes: 'all' }), [
      'ERR_INVALID_ARG_VALUE',
      'ERR_INVALID_ARG_VALUE',
    ]);
    assert.deepStrictEqual(
      await codes({ scope: 'machine' }),
      [undefined, undefined].map((it) => it ?? null),
    );
    await member.run(({ cluster }, backend) => cluster.setupPrimary({ backend }), server.url);
    await assert.rejects(
      member.run(({ cluster }) => cluster.notify(1, 'name', 1, { scope: 'all' })),
      { code: 'ERR_INVALID_ARG_VALUE' },
    );
    await assert.rejects(
      member.run(({ cluster }) =>
        new cluster.BroadcastChannel('name', { scope: 'all' }).postMessage('x'.repeat((4 << 20) + 1)),
      ),
      { code: 'ERR_RCLUSTER_MESSAGE_TOO_LARGE' },
    );
  } finally {
    await member.stop();
    await server.close();
  }
});

test('the server has exactly the subscriptions that processes need', { skip }, () =>
  withMembers(1, async (server, [member]) => {
    const channels = () => server.command('PUBSUB', 'CHANNELS', '*news*');
    await until('it has subscribed', async () => (await channels()).length === 1);
    await member.run(({ kept }) => kept.channel.close());
    await until('it has not', async () => (await channels()).length === 0);
    await server.command('PUBLISH', 'rcluster:messages:0:channel:news', 'rubbish');
  }),
);
