'use strict';

// shared() with a backend whose server is killed, paused, filled, emptied, or refuses: the events, and that
// both sides are equal in the end.

const assert = require('node:assert');
const { test } = require('node:test');
const { startMembers } = require('../helpers/members.js');
const { isStopped, until } = require('../../testing/processes.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in has no shared stores' : withoutRedis;

/**
 * @param {import('node:test').TestContext} t
 * @param {object} [redis]
 * @param {object} [options]
 */
async function start(t, redis = {}, options = {}) {
  const server = await startRedis(redis);
  t.after(() => server.close());
  const members = await startMembers(2);
  t.after(() => Promise.all(members.map((member) => member.stop())));
  await Promise.all(members.map((member) => member.open('store', { backend: server.url, ...options })));
  for (const member of members) await member.run(note);
  return { server, members };
}

/** Records the events of a store. @param {any} there */
function note({ kept }) {
  const { store } = kept;
  kept.told = [];
  kept.reasons = [];
  store.on('disconnect', ({ message }) => kept.reasons.push(message));
  for (const name of ['connect', 'disconnect', 'resync']) store.on(name, () => kept.told.push(name));
  // Resolves when the store has emitted this event so many times.
  kept.until = (name, times = 1) =>
    new Promise((resolve) => {
      const look = () => {
        if (kept.told.filter((it) => it === name).length >= times) resolve(undefined);
        else store.once(name, () => setImmediate(look));
      };
      look();
    });
}

/** The content of a store, up to date with the server. @param {any} there */
async function content({ kept: { store } }) {
  await store.read('');
  return JSON.stringify([store.revision, store.entries()]);
}

/** @param {import('../helpers/members.js').Member[]} members */
async function assertEqual(members) {
  const [one, other] = await Promise.all(members.map((member) => member.run(content)));
  assert.strictEqual(one, other);
  return JSON.parse(one)[1];
}

test('a server that is killed and restarted loses no acknowledged write', { skip }, async (t) => {
  const { server, members } = await start(t, { appendonly: true }, { offline: { wait: 20_000 } });
  const sums = members.map((member) =>
    member.run(async ({ kept: { store } }) => {
      let done = 0;
      for (let round = 0; round < 40; round += 1) {
        await Promise.all(Array.from({ length: 25 }, () => store.increment('sum').then(() => (done += 1))));
      }
      return done;
    }),
  );
  for (let kill = 0; kill < 3; kill += 1) {
    await members[0].run(({ kept: { store } }) => store.increment('go on'));
    await server.kill();
    await server.restart();
    await Promise.all(
      members.map((member) => member.run(({ kept }, times) => kept.until('connect', times), kill + 1)),
    );
  }
  assert.deepStrictEqual(await Promise.all(sums), [1000, 1000]);
  const entries = await assertEqual(members);
  // Once each, however many connections were lost while they were in transit.
  assert.deepStrictEqual(entries, [
    ['go on', 3],
    ['sum', 2000],
  ]);
  const told = await members[1].run(({ kept }) => kept.told.filter((it) => it === 'disconnect').length >= 3);
  assert.ok(told);
});

test('reads continue while a server is unreachable, and writes reject after a wait', { skip }, async (t) => {
  const { server, members } = await start(t, {}, { offline: { wait: 0 } });
  const [one, other] = members;
  await one.run(({ kept: { store } }) => store.set('key', 1));
  await other.run(({ kept: { store } }) => store.read('key'));
  await server.kill();
  const seen = await other.run(async ({ kept }) => {
    const { store } = kept;
    await kept.until('disconnect');
    const errors = await Promise.all(
      [store.set('key', 2), store.read('key'), store.atomic().delete('key').commit()].map((promise) =>
        promise.then(
          () => 'done',
          (error) => error.code,
        ),
      ),
    );
    const { state, error, url } = store.stats().backend;
    return [errors, store.get('key'), state, typeof error, url];
  });
  assert.deepStrictEqual(seen, [
    Array.from({ length: 3 }, () => 'ERR_RCLUSTER_DISCONNECTED'),
    1,
    'offline',
    'string',
    server.url,
  ]);
  await server.restart();
  await Promise.all(members.map((member) => member.run(({ kept }) => kept.until('resync'))));
  // Without a file, it has lost everything.
  assert.deepStrictEqual(await assertEqual(members), []);
});

test('a paused server is reported, and continues where it was', { skip }, async (t) => {
  const { server, members } = await start(t, {}, { offline: { wait: 60_000 } });
  await members[0].run(({ kept: { store } }) => store.set('sum', 0));
  server.pause();
  const adding = members.map((member) =>
    member.run(({ kept: { store } }) =>
      Promise.all(Array.from({ length: 100 }, () => store.increment('sum'))).then((all) => all.length),
    ),
  );
  await Promise.all(members.map((member) => member.run(({ kept }) => kept.until('disconnect'))));
  server.resume();
  assert.deepStrictEqual(await Promise.all(adding), [100, 100]);
  assert.deepStrictEqual(await assertEqual(members), [['sum', 200]]);
});

test('a server without memory refuses writes that need memory, and nothing else', { skip }, async (t) => {
  const { server, members } = await start(t, { maxmemory: 8 << 20 });
  await members[0].run(({ kept: { store } }) => store.set('key', 'x'.repeat(1000)));
  await server.fill();
  const seen = await members[0].run(async ({ kept: { store } }) => {
    const code = (promise) =>
      promise.then(
        () => 'done',
        ({ code, message }) => `${code} ${/OOM/.test(message)}`,
      );
    return [
      await Promise.all([code(store.set('more', 'x'.repeat(1000))), code(store.delete('key'))]),
      store.has('more'),
      store.has('key'),
    ];
  });
  assert.deepStrictEqual(seen, [['ERR_RCLUSTER_FULL true', 'done'], false, false]);
  await server.unfill();
  await members[1].run(({ kept: { store } }) => store.set('more', 1));
  assert.deepStrictEqual(await assertEqual(members), [['more', 1]]);
});

test('a watch that has missed changes that the server no longer has gets a resync', { skip }, async (t) => {
  const { server, members } = await start(t);
  const [one, other] = members;
  await one.run(({ kept: { store } }) => Promise.all([store.set('stays', 1), store.set('goes', 1)]));
  await other.run(async ({ kept }) => {
    await kept.store.read('goes');
    kept.events = [];
    kept.watch = (async () => {
      for await (const { type, key } of kept.store.watch()) {
        kept.events.push(key === undefined ? type : `${type} ${key}`);
        if (type === 'synced' && kept.events.includes('resync')) return;
      }
    })();
    // It has read everything before the server loses data.
    while (!kept.events.includes('synced')) await new Promise((resolve) => setImmediate(resolve));
  });
  // The other machine is stopped while this one changes the store.
  other.child.kill('SIGSTOP');
  await until('all its threads are stopped', () => isStopped(other.child.pid));
  await one.run(async ({ kept: { store } }) => {
    await store.delete('goes');
    await store.set('new', 2);
  });
  await server.command('XTRIM', 'rcluster:{store}:changes', 'MAXLEN', 0);
  await one.run(({ kept: { store } }) => store.set('newer', 3));
  // The other machine must read everything after its position, on a new connection.
  await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  other.child.kill('SIGCONT');
  await other.run(({ kept }) => kept.watch);
  const events = await other.run(({ kept }) => kept.events);
  const from = events.indexOf('resync');
  assert.deepStrictEqual(events.slice(from).sort(), [
    'resync',
    'set new',
    'set newer',
    'set stays',
    'synced',
  ]);
  assert.deepStrictEqual(await other.run(({ kept }) => kept.told.includes('resync')), true);
  assert.deepStrictEqual(await assertEqual(members), [
    ['new', 2],
    ['newer', 3],
    ['stays', 1],
  ]);
});

test(
  'what a server has lost does not remain on any machine, and its revision is not used again',
  { skip },
  async (t) => {
    const server = await startRedis();
    t.after(() => server.close());
    const members = await startMembers(2);
    t.after(() => Promise.all(members.map((member) => member.stop())));
    const [one, other] = members;
    await one.open('store', { backend: server.url });
    await one.run(note);
    await one.run(({ kept: { store } }) => store.set('key', 'saved'));
    await server.command('SAVE');
    const lost = await one.run(async ({ kept: { store } }) => (await store.set('key', 'lost')).revision);
    // The other machine is the first to connect again, and knows nothing of the write that was lost.
    one.child.kill('SIGSTOP');
    await until('all its threads are stopped', () => isStopped(one.child.pid));
    await server.kill();
    await server.restart();
    await other.open('store', { backend: server.url });
    const later = await other.run(async ({ kept: { store } }) => (await store.set('key', 'later')).revision);
    assert.ok(later > lost, `${later} > ${lost}`);
    one.child.kill('SIGCONT');
    await one.run(({ kept }) => kept.until('resync'));
    assert.deepStrictEqual(await assertEqual(members), [['key', 'later']]);
    const written = await one.run(
      ({ kept: { store } }, ifRevision) => store.set('key', 'derived', { ifRevision }),
      lost,
    );
    assert.strictEqual(written.ok, false);
  },
);

test('machines that reconnect without a loss read on', { skip }, async (t) => {
  const { server, members } = await start(t, { appendonly: true });
  await members[0].run(({ kept: { store } }) => store.set('key', 1));
  await assertEqual(members);
  await server.kill();
  await server.restart();
  await Promise.all(members.map((member) => member.run(({ kept }) => kept.until('connect'))));
  assert.deepStrictEqual(await assertEqual(members), [['key', 1]]);
  for (const member of members) {
    assert.deepStrictEqual(await member.run(({ kept }) => kept.told), ['disconnect', 'connect']);
  }
});

test(
  'a server that is emptied empties all stores, whose revisions continue to increase',
  { skip },
  async (t) => {
    const { server, members } = await start(t);
    const before = await members[0].run(async ({ kept: { store } }) => (await store.set('key', 1)).revision);
    await server.command('FLUSHALL');
    await Promise.all(members.map((member) => member.run(({ kept }) => kept.until('resync'))));
    // By now it is connected again, without an error.
    for (const member of members) {
      assert.match(
        (await member.run(({ kept }) => kept.reasons)).join(),
        /was lost: the store on the server was emptied/,
      );
    }
    assert.deepStrictEqual(await assertEqual(members), []);
    const behind = await members[1].run(async ({ kept: { store } }) => (await store.set('key', 2)).revision);
    assert.ok(behind > before, `${behind} > ${before}`);
    assert.deepStrictEqual(await assertEqual(members), [['key', 2]]);
  },
);

test('the feed continues while the JavaScript of the primary is blocked', { skip }, async (t) => {
  const { server, members } = await start(t);
  const [one, other] = members;
  // A worker of the other cluster reads and writes while its primary only polls its memory.
  const there = other.run(async ({ cluster, kept }, url) => {
    const { once } = require('node:events');
    const exec = require('node:path').join(process.cwd(), '__test__/fixtures/redis/member.js');
    cluster.setupPrimary({ exec });
    const worker = cluster.fork();
    await once(worker, 'message');
    const body = `async ({ cluster, kept }, url) => {
      kept.store = cluster.shared('store', { backend: url });
      await kept.store.ready;
      void (async () => {
        for (let i = 0; i < 50; i += 1) await kept.store.increment('mine');
        for await (const { key, value } of kept.store.watch({ key: 'theirs' })) if (value === 50) break;
        await kept.store.set('end', true);
      })();
    }`;
    const answer = once(worker, 'message');
    worker.send({ id: 1, body, args: [url] });
    await answer;
    const limit = Date.now() + 60_000;
    while (!kept.store.has('end') && Date.now() < limit);
    worker.kill();
    return ['mine', 'theirs', 'end'].map((key) => kept.store.get(key));
  }, server.url);
  await one.run(async ({ kept: { store } }) => {
    for (let i = 0; i < 50; i += 1) await store.increment('theirs');
  });
  assert.deepStrictEqual(await there, [50, 50, true]);
});

test('a server that cannot be reached at first is used as soon as it can', { skip }, async (t) => {
  const server = await startRedis();
  t.after(() => server.close());
  await server.kill();
  const [member] = await startMembers(1);
  t.after(() => member.stop());
  const seen = await member.run(async ({ cluster, kept }, url) => {
    kept.store = cluster.shared('store', { backend: url, offline: { wait: 0 } });
    const code = await kept.store.set('key', 1).then(
      () => 'done',
      (error) => error.code,
    );
    return [code, kept.store.get('key') === undefined, kept.store.stats().backend.state];
  }, server.url);
  assert.deepStrictEqual(seen, ['ERR_RCLUSTER_DISCONNECTED', true, 'connecting']);
  await server.restart();
  assert.deepStrictEqual(
    await member.run(async ({ kept: { store } }) => {
      await store.ready;
      await store.set('key', 2);
      return [store.get('key'), store.stats().backend.error === undefined];
    }),
    [2, true],
  );
});

test('errors name a wrong password, a wrong type and a replica', { skip }, async (t) => {
  const server = await startRedis({ requirepass: 'geheim' });
  t.after(() => server.close());
  const open = await startRedis();
  t.after(() => open.close());
  const replica = await startRedis({ replicaOf: open });
  t.after(() => replica.close());
  await replica.synced();
  await server.command('SET', 'rcluster:{other}:facts', 'x');
  const [member] = await startMembers(1);
  t.after(() => member.stop());
  /** @param {string} name @param {string} url */
  const errorOf = (name, url) =>
    member.run(
      async ({ cluster }, name, url) => {
        const store = cluster.shared(name, { backend: url, offline: { wait: 1000 } });
        const { code, message } = await store.set('key', 1).then(
          () => ({ code: 'done', message: '' }),
          (error) => error,
        );
        return [code, message, store.stats().backend.error];
      },
      name,
      url,
    );
  for (const [name, url, word] of [
    ['wrong', server.url.replace('geheim', 'falsch'), /WRONGPASS|authentication/i],
    ['other', server.url, /rcluster:\{other\}:facts is a string and not a hash/],
    ['replica', replica.url, /READONLY/],
  ]) {
    const [code, message, error] = await errorOf(/** @type {string} */ (name), /** @type {string} */ (url));
    assert.strictEqual(code, 'ERR_RCLUSTER_DISCONNECTED');
    assert.match(message, /** @type {RegExp} */ (word));
    assert.match(error, /** @type {RegExp} */ (word));
    assert.doesNotMatch(message, /geheim|falsch/);
  }
});
