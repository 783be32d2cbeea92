'use strict';

// shared() with a backend whose keys are changed by other programs, or whose server refuses some commands: no request is
// executed twice, all machines agree in the end, and they do not reconnect endlessly.

const assert = require('node:assert');
const { test } = require('node:test');
const { startMembers } = require('../helpers/members.js');
const { until } = require('../../testing/processes.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in has no shared stores' : withoutRedis;

/** @param {string} what */
const key = (what) => `rcluster:{store}:${what}`;

/** @param {import('node:test').TestContext} t */
async function start(t) {
  const server = await startRedis();
  t.after(() => server.close());
  await server.command('ACL', 'SETUSER', 'limited', 'on', '>geheim', '~*', '&*', '+@all');
  const backend = server.url.replace('//', '//limited:geheim@');
  const members = await startMembers(2);
  t.after(() => Promise.all(members.map((member) => member.stop())));
  await Promise.all(members.map((member) => member.open('store', { backend })));
  return { server, members, backend };
}

/** The content on each machine, and on one that joins later. */
async function contents(members, backend) {
  const [late] = await startMembers(1);
  try {
    await late.open('store', { backend });
    const all = [];
    for (const member of [...members, late]) {
      all.push(
        await member.run(async ({ kept: { store } }) => {
          await store.read('');
          return Object.fromEntries(store.entries());
        }),
      );
    }
    return all;
  } finally {
    await late.stop();
  }
}

/** Increments in one batch with a request that the server may refuse; returns how many it has acknowledged. */
function incrementAround({ kept: { store } }) {
  const requests = Array.from({ length: 40 }, (_, place) =>
    place === 20 ? store.set('other', 1, { ttl: 600_000 }) : store.increment('sum'),
  );
  return Promise.allSettled(requests).then(
    (all) => all.filter(({ status }, place) => place !== 20 && status === 'fulfilled').length,
  );
}

for (const [what, tamper, mend] of /** @type {[string, (server: any) => any, (server: any) => any][]} */ ([
  [
    'a permission is missing',
    (server) => server.command('ACL', 'SETUSER', 'limited', '-zadd'),
    (server) => server.command('ACL', 'SETUSER', 'limited', '+zadd'),
  ],
  [
    'a key has another type',
    (server) => server.command('SET', key('ends'), 'x'),
    (server) => server.command('DEL', key('ends')),
  ],
])) {
  test(`a batch in which ${what} is not executed twice`, { skip }, async (t) => {
    const { server, members, backend } = await start(t);
    await members[0].run(({ kept: { store } }) => store.set('sum', 0));
    await tamper(server);
    const done = await members[0].run(incrementAround);
    await mend(server);
    await members[0].run(({ kept: { store } }) => store.set('end', true));
    const [one, ...others] = await contents(members, backend);
    for (const other of others) assert.deepStrictEqual(other, one);
    assert.ok(done <= one.sum && one.sum <= 39, `${done} <= ${one.sum} <= 39`);
  });
}

test('an invalid value is overwritten, and named in the error of a load', { skip }, async (t) => {
  const { server, members, backend } = await start(t);
  await server.command('HSET', key('values'), 'other', 'garbage');
  const [late] = await startMembers(1);
  t.after(() => late.stop());
  await late.run(({ cluster, kept }, backend) => {
    kept.store = cluster.shared('store', { backend });
  }, backend);
  await until('it is named', () =>
    late.run(({ kept: { store } }) => /"other"/.test(store.stats().backend.error)),
  );
  assert.strictEqual(await members[0].run(incrementAround), 39);
  const all = await contents([...members, late], backend);
  for (const one of all) assert.deepStrictEqual(one, { sum: 39, other: 1 });
});

for (const [what, command] of /** @type {[string, string[]][]} */ ([
  ['values are deleted', ['DEL', key('values')]],
  ['state is deleted', ['DEL', key('facts')]],
])) {
  test(`a store whose ${what} is empty on all machines`, { skip }, async (t) => {
    const { server, members, backend } = await start(t);
    await members[0].run(({ kept: { store } }) => store.set('key', 1));
    await Promise.all(
      members.map((member) =>
        member.run(async ({ kept }) => {
          await kept.store.read('key');
          kept.resync = new Promise((resolve) => kept.store.once('resync', resolve));
        }),
      ),
    );
    await server.command(...command);
    await Promise.all(members.map((member) => member.run(({ kept }) => kept.resync.then(() => true))));
    assert.deepStrictEqual(await contents(members, backend), [{}, {}, {}]);
  });
}

for (const fields of [
  ['d', 'garbage'],
  ['a', 'b', 'c', 'd'],
]) {
  test(`an entry of another program with ${fields.length} fields is skipped`, { skip }, async (t) => {
    const { server, members, backend } = await start(t);
    await members[0].run(({ kept: { store } }) => store.set('key', 1));
    await server.command('XADD', key('changes'), '*', ...fields);
    await members[1].run(({ kept: { store } }) => store.set('other', 2));
    for (const one of await contents(members, backend)) assert.deepStrictEqual(one, { key: 1, other: 2 });
  });
}

for (const field of ['epoch', 'revision', 'used', 'average']) {
  test(
    `a foreign ${field} is named in the error, changes nothing, and can be removed`,
    { skip },
    async (t) => {
      const { server, members, backend } = await start(t);
      const [member] = members;
      await member.run(async ({ kept }) => {
        await kept.store.set('key', 1);
        kept.told = new Promise((resolve) =>
          kept.store.once('disconnect', ({ message }) => resolve(message)),
        );
      });
      await server.command('HSET', key('facts'), field, 'abc');
      const said = new RegExp(`the field ${field} of the key rcluster:\\{store\\}:facts .*"abc"`);
      const code = await member.run(({ kept: { store } }) => store.set('key', 2).catch(({ code }) => code));
      assert.strictEqual(code, 'ERR_RCLUSTER_DISCONNECTED');
      assert.match(await member.run(({ kept }) => kept.told), said);
      await until('it is named', async () =>
        said.test(await member.run(({ kept: { store } }) => `${store.stats().backend.error}`)),
      );
      await server.command('HDEL', key('facts'), field);
      await until('it is used again', () =>
        member.run(({ kept: { store } }) => store.stats().backend.state === 'following'),
      );
      const left = field === 'epoch' ? {} : { key: 1 };
      assert.deepStrictEqual(await contents(members, backend), [left, left, left]);
    },
  );
}

test('deleted expiry times are restored', { skip }, async (t) => {
  const { server, members } = await start(t);
  await members[0].run(async ({ kept }) => {
    kept.expired = new Promise((resolve) =>
      kept.store.on('change', ({ type, key }) => type === 'expire' && key === 'short' && resolve(true)),
    );
    await kept.store.set('short', 1, { ttl: 1000 });
    await kept.store.set('long', 2, { ttl: 600_000 });
  });
  const before = await server.command('ZSCORE', key('ends'), 'long');
  await server.command('DEL', key('ends'));
  // A new expiry time alone does not hide that others are missing.
  await members[0].run(({ kept: { store } }) => store.set('new', 3, { ttl: 600_000 }));
  assert.strictEqual(await server.command('ZSCORE', key('ends'), 'long'), before);
  assert.strictEqual(await members[0].run(({ kept }) => kept.expired), true);
});
