'use strict';

// shared() with a backend: two clusters with one server have the same store.

const assert = require('node:assert');
const { after, before, test } = require('node:test');
const { startMembers } = require('../helpers/members.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in has no shared stores' : withoutRedis;

/** @type {import('../../testing/redis.js').RedisServer} */
let server;
/** @type {import('../helpers/members.js').Member[]} */
let members;

before(async () => {
  if (skip) return;
  server = await startRedis();
  members = await startMembers(2);
});

after(async () => {
  if (skip) return;
  await Promise.all(members.map((member) => member.stop()));
  await server.close();
});

/** @param {string} name @param {object} [options] */
const open = (name, options) =>
  Promise.all(members.map((member) => member.open(name, { backend: server.url, ...options })));

test('the other cluster is notified of a write, and reads it', { skip }, async () => {
  const [one, other] = await open('told');
  await other.run(({ kept }) => {
    kept.events = [];
    kept.watch = (async () => {
      for await (const event of kept.store.watch()) {
        kept.events.push(event);
        if (event.key === 'last') return;
      }
    })();
  });
  const revisions = await one.run(async ({ kept: { store } }) => {
    const first = await store.set('key', { deep: [1, 'ü', null] });
    // A process that has the answer can read the value.
    if (store.get('key').deep[1] !== 'ü') throw new Error('it is not there');
    const second = await store.delete('key');
    const third = await store.set('last', Buffer.from('x'));
    return [first, second, third].map(({ ok, revision }) => [ok, revision]);
  });
  await other.run(({ kept }) => kept.watch);
  const events = await other.run(({ kept }) => kept.events);
  const [[, first], [, second], [, third]] = revisions;
  assert.ok(first < second && second < third, `${revisions}`);
  assert.strictEqual(events[0].type, 'synced');
  assert.deepStrictEqual(
    events.filter((event) => event.key === 'last').map(({ type, revision }) => [type, revision]),
    [['set', third]],
  );
  const same = (/** @type {any} */ { kept: { store } }) => [
    store.keys(),
    store.revision,
    store.get('last').toString(),
    store.entry('last').revision,
  ];
  assert.deepStrictEqual(await other.run(same), [['last'], third, 'x', third]);
  assert.deepStrictEqual(await one.run(same), [['last'], third, 'x', third]);
});

test('increments of both are exact, and conditions hold between them', { skip }, async () => {
  const both = await open('counted');
  const add = async (/** @type {any} */ { kept: { store } }) => {
    const won = await store.set('first', 1, { ifAbsent: true });
    const sums = await Promise.all(Array.from({ length: 500 }, () => store.increment('sum')));
    return [won.ok, sums];
  };
  const results = await Promise.all(both.map((member) => member.run(add)));
  assert.deepStrictEqual(results.map(([won]) => won).sort(), [false, true]);
  const sums = results.flatMap(([, all]) => all).sort((a, b) => a - b);
  assert.deepStrictEqual(
    sums,
    Array.from({ length: 1000 }, (_, i) => i + 1),
  );
  const outcome = await both[0].run(async ({ kept: { store } }) => {
    const { revision } = await store.set('from', 5);
    const moved = await store
      .atomic()
      .check('from', revision)
      .increment('from', -4)
      .increment('to', 4)
      .commit();
    const again = await store.atomic().check('from', revision).increment('from', -4).commit();
    const both = [moved.ok, again.ok, again.revision === moved.revision, store.get('from'), store.get('to')];
    const own = await store.atomic().set('own', 1).check('own', 0).commit();
    const twice = await store.atomic().set('to', 1).set('to', 2, { ifAbsent: true }).commit();
    return [...both, own, { ...twice, revision: twice.revision === moved.revision }];
  });
  const refused = [
    { ok: false, revision: 0 },
    { ok: false, revision: true },
  ];
  assert.deepStrictEqual(outcome, [true, false, true, 1, 4, ...refused]);
  assert.deepStrictEqual(await both[1].run(({ kept: { store } }) => store.read('to')), 4);
});

test('an expired value is invisible on both, and reported once on both', { skip }, async () => {
  const both = await open('mortal');
  for (const member of both) {
    await member.run(({ kept }) => {
      kept.ended = new Promise((resolve) => {
        kept.events = [];
        kept.store.on('change', (event) => {
          kept.events.push([event.type, event.key, event.revision]);
          if (event.key === 'end') resolve();
        });
      });
    });
  }
  await both[0].run(async ({ kept: { store } }) => {
    const gone = new Set();
    const areGone = new Promise((resolve) => {
      store.on('change', ({ type, key }) => {
        if (type === 'expire') gone.add(key);
        if (gone.size === 2) resolve();
      });
    });
    await store.set('short', 1, { ttl: 2000 });
    await store.set('kept', 1, { ttl: 2000 });
    await store.set('kept', 2, { keepTtl: true });
    await store.set('long', 1, { ttl: 2000 });
    await store.touch('long', 3_600_000);
    const rest = store.entry('long').expiresAt - Date.now();
    if (!(rest > 3_500_000 && rest < 3_700_000)) throw new Error(`${rest} ms`);
    await areGone;
    await store.set('end', 1);
  });
  const [mine, others] = await Promise.all(
    both.map((member) =>
      member.run(async ({ kept }) => {
        await kept.ended;
        return [kept.events.filter(([type]) => type === 'expire').sort(), kept.store.keys()];
      }),
    ),
  );
  assert.deepStrictEqual(mine, others);
  assert.deepStrictEqual(
    mine[0].map(([, key]) => key),
    ['kept', 'short'],
  );
  assert.deepStrictEqual([...mine[1]], ['end', 'long']);
});

test('a write to a value that has expired is a change after its expiry', { skip }, async () => {
  const [one, other] = await open('anew');
  for (const member of [one, other]) {
    await member.run(({ kept }) => {
      kept.types = {};
      kept.watch = (async () => {
        for await (const { type, key } of kept.store.watch({ history: true })) {
          if (key === 'end') return;
          if (key !== undefined) (kept.types[key] ??= []).push(type);
        }
      })();
    });
  }
  const results = await one.run(async ({ kept: { store } }) => {
    const writes = {
      set: (key) => store.set(key, 2, { ifAbsent: true }),
      'set at its revision': (key, ifRevision) => store.set(key, 2, { ifRevision }),
      increment: (key) => store.increment(key),
      delete: (key) => store.delete(key),
      touch: (key) => store.touch(key, 1000),
      batch: (key) => store.atomic().check(key, 0).set(key, 2).commit(),
      clear: (key) => store.clear({ prefix: key }),
    };
    const found = {};
    const names = Object.keys(writes).flatMap((name) => Array.from({ length: 20 }, (_, n) => [name, n]));
    await Promise.all(
      names.map(async ([name, n]) => {
        const key = `${name} ${n}.`;
        const { revision } = await store.set(key, 1, { ttl: 50 + n });
        while (store.has(key)) await new Promise((resolve) => setImmediate(resolve));
        const result = await writes[name](key, revision);
        (found[name] ??= new Set()).add(result.ok ?? result);
      }),
    );
    await store.set('end', 1);
    return Object.fromEntries(Object.entries(found).map(([name, all]) => [name, [...all]]));
  });
  assert.deepStrictEqual(results, {
    set: [true],
    'set at its revision': [false],
    increment: [1],
    delete: [false],
    touch: [false],
    batch: [true],
    clear: [0],
  });
  for (const member of [one, other]) {
    const types = await member.run(({ kept }) => kept.watch.then(() => kept.types));
    const byWrite = {};
    for (const [key, list] of Object.entries(types)) {
      (byWrite[key.replace(/ \d+\.$/, '')] ??= new Set()).add(list.join());
    }
    assert.deepStrictEqual(byWrite, {
      set: new Set(['set,expire,set']),
      'set at its revision': new Set(['set,expire']),
      increment: new Set(['set,expire,set']),
      delete: new Set(['set,expire']),
      touch: new Set(['set,expire']),
      batch: new Set(['set,expire,set']),
      clear: new Set(['set,expire']),
    });
  }
});

test('clear() returns how many keys it has deleted, and keeps the rest', { skip }, async () => {
  const [one, other] = await open('cleared');
  const counts = await one.run(async ({ kept: { store } }) => {
    await Promise.all(Array.from({ length: 30 }, (_, i) => store.set(`${i % 3}:${i}`, i, { ttl: 60_000 })));
    return [
      await store.clear({ prefix: '1:' }),
      store.size,
      await store.clear({ prefix: '1:' }),
      await store.clear(),
    ];
  });
  assert.deepStrictEqual(counts, [10, 20, 0, 20]);
  await other.run(async ({ kept: { store } }) => {
    if ((await store.read('0:0')) !== undefined) throw new Error('it is there');
  });
  assert.strictEqual(await other.run(({ kept: { store } }) => store.size), 0);
});

test('a store that is larger elsewhere is not ready, until it fits', { skip }, async () => {
  const [one, other] = members;
  const backend = server.url;
  await one.open('larger', { backend, size: '4MB' });
  await one.run(async ({ kept: { store } }) => {
    for (let key = 0; key < 200; key++) await store.set(`${key}`, Buffer.alloc(10_000));
  });
  const seen = await other.run(async ({ cluster, kept }, backend) => {
    const store = (kept.store = cluster.shared('larger', { backend, size: '1MB' }));
    kept.events = [];
    kept.isReady = false;
    for (const name of ['connect', 'disconnect', 'resync']) store.on(name, () => kept.events.push(name));
    void store.ready.then(() => {
      kept.isReady = true;
    });
    while (store.stats().backend.error === undefined) await new Promise(setImmediate);
    const { state, error, lag, loads } = store.stats().backend;
    // It is tried again and again.
    return [state === 'following', /does not fit/.test(error), lag ?? null, loads, kept.isReady, kept.events];
  }, backend);
  assert.deepStrictEqual(seen, [false, true, null, 0, false, []]);
  await one.run(({ kept: { store } }) => store.clear());
  await other.run(({ kept: { store } }) => store.ready);
  assert.deepStrictEqual(await other.run(({ kept: { events, store } }) => [events, store.size]), [
    ['connect'],
    0,
  ]);
});

test('a store is full at its size, and refuses to increment other values', { skip }, async () => {
  const [one, other] = await open('full', { size: '1MB' });
  const codes = await one.run(async ({ kept: { store } }) => {
    const code = (promise) =>
      promise.then(
        () => 'done',
        (error) => error.code,
      );
    await store.set('text', 'x');
    const value = Buffer.alloc(store.stats().maxValue, 1);
    let count = 0;
    while ((await code(store.set(`large ${count}`, value))) === 'done') count += 1;
    return [
      count > 50,
      await code(store.set('one more', value)),
      await code(store.set('too large', Buffer.alloc(value.length + 2000))),
      await code(store.increment('text')),
      await code(store.increment('huge', 1e308)),
      await code(store.increment('huge', 1e308)),
      store.get('huge'),
      await code(store.set('none', NaN)),
      await code(store.increment('none')),
      await code(store.set('large 0', 'now small')),
    ];
  });
  assert.deepStrictEqual(codes, [
    true,
    'ERR_RCLUSTER_FULL',
    'ERR_RCLUSTER_TOO_LARGE',
    'ERR_RCLUSTER_NOT_NUMBER',
    'done',
    'ERR_RCLUSTER_NOT_NUMBER',
    1e308,
    'done',
    'ERR_RCLUSTER_NOT_NUMBER',
    'done',
  ]);
  const read = (/** @type {any} */ { kept: { store } }) =>
    store.read('large 0').then(() => [store.size, store.get('large 0')]);
  assert.deepStrictEqual(await other.run(read), await one.run(read));
});

test('workers use the store of their primary, and the primary the worker’s', { skip }, async () => {
  const [one, other] = await open('worked');
  const seen = await one.run(async ({ cluster, kept }, url) => {
    cluster.setupPrimary({
      exec: require('node:path').join(process.cwd(), '__test__/fixtures/redis/member.js'),
    });
    const worker = cluster.fork();
    await require('node:events').once(worker, 'message');
    const answer = require('node:events').once(worker, 'message');
    const body = `async ({ cluster }, url) => {
      const store = cluster.shared('worked', { backend: url });
      await store.set('by', 'worker');
      return [store.get('by'), store.stats().backend.state, store.stats().backend.url];
    }`;
    worker.send({ id: 1, body, args: [url] });
    const [{ value, error }] = await answer;
    if (error) throw Object.assign(new Error(error.message), error);
    worker.kill();
    return [value, kept.store.get('by')];
  }, server.url);
  assert.deepStrictEqual(seen, [['worker', 'following', server.url], 'worker']);
  assert.strictEqual(await other.run(({ kept: { store } }) => store.read('by')), 'worker');
});

test('stores, and databases, are separate', { skip }, async () => {
  const [one] = await open('apart}{%');
  const values = await one.run(async ({ cluster, kept: { store } }, url) => {
    await store.set('key', 1);
    const other = cluster.shared('apart', { backend: { url: `${url}/3`, prefix: 'other:' } });
    await other.ready;
    await other.set('key', 2);
    return [store.get('key'), other.get('key'), other.stats().backend.url];
  }, server.url);
  assert.deepStrictEqual(values, [1, 2, `${server.url}/3`]);
  assert.match(await server.info('INFO', 'keyspace'), /db3:keys=4,/);
});

test('expired values leave their room to new ones, however many there are', { skip }, async () => {
  const [one] = await open('mortals', { size: '4MB' });
  const counts = await one.run(async ({ kept: { store } }) => {
    const counts = { done: 0 };
    const value = 'x'.repeat(1000);
    for (let round = 0; round < 24; round += 1) {
      const names = Array.from({ length: 500 }, (_, place) => `${round}-${place}`);
      await Promise.all(
        names.map((name) =>
          store.set(name, value, { ttl: 1 }).then(
            () => (counts.done += 1),
            ({ code }) => (counts[code] = (counts[code] ?? 0) + 1),
          ),
        ),
      );
    }
    return counts;
  });
  assert.deepStrictEqual(counts, { done: 12_000 });
});
