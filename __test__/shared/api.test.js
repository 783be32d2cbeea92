'use strict';

// cluster.shared() in one process: values, conditions, expiry, batches, watches, limits, and what is refused.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { getEventListeners, once } = require('node:events');
const { test } = require('node:test');
const { Worker } = require('node:worker_threads');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const cluster = isBuiltin ? undefined : require(OURS);

let count = 0;
const open = (options) => cluster.shared(`test ${(count += 1)}`, options);

/** @param {AsyncIterator<any>} watch @param {number} length */
async function take(watch, length) {
  const events = [];
  while (events.length < length) events.push((await watch.next()).value);
  return events;
}

test('values are read as they were written', { skip }, async () => {
  const store = open();
  const hole = [1, 2];
  delete hole[0];
  const primitives = [0, -0, 1.5, NaN, -Infinity, 2 ** 60, 12n, true, false, null];
  const strings = ['', 'text', 'ü', '\u{1f600}', 'lone \ud800', 'x'.repeat(5000), 'é'.repeat(3000)];
  const plain = [{}, [], { a: [1, 'two', { three: null }] }, { text: 'ü\ud800' }, { __proto__: null, a: 1 }];
  const beyondJson = [
    [undefined],
    { a: undefined },
    [-0],
    hole,
    Object.assign([...hole], { 0: undefined }),
    Object.assign(hole.slice(), { more: 2 }),
    new Date(5),
    /a/g,
    Object.assign([1], { more: 2 }),
  ];
  const others = [new Map([[1, new Set([2])]]), new Uint8Array([1, 2]), new Float64Array([0.5])];
  const buffers = [Buffer.from([0, 255]), Buffer.alloc(0)];
  const values = [...primitives, ...strings, ...plain, ...beyondJson, ...others, ...buffers];
  for (const [index, value] of values.entries()) {
    const { ok } = await store.set(`key ${index}`, value);
    assert.strictEqual(ok, true);
    const expected = Buffer.isBuffer(value) ? value : structuredClone(value);
    assert.deepStrictEqual(store.get(`key ${index}`), expected);
  }
  assert.strictEqual(store.size, values.length);
  const cyclic = {};
  cyclic.self = cyclic;
  await store.set('cyclic', cyclic);
  const back = store.get('cyclic');
  assert.strictEqual(back.self, back);
  assert.notStrictEqual(store.get('cyclic'), back, 'each get is a copy');
});

test('a key without a value returns undefined', { skip }, async () => {
  const store = open();
  assert.strictEqual(store.get('nothing'), undefined);
  assert.strictEqual(store.entry('nothing'), undefined);
  assert.strictEqual(store.has('nothing'), false);
  assert.deepStrictEqual(await store.delete('nothing'), { ok: false, revision: 0 });
  assert.deepStrictEqual(await store.touch('nothing', 5), { ok: false, revision: 0 });
  await store.set('', 'the empty key');
  assert.strictEqual(store.get(''), 'the empty key');
});

test('revisions increase, and conditions refer to them', { skip }, async () => {
  const store = open();
  assert.deepStrictEqual(await store.set('a', 1, { ifAbsent: true }), { ok: true, revision: 1 });
  assert.deepStrictEqual(await store.set('a', 2, { ifAbsent: true }), { ok: false, revision: 1 });
  assert.deepStrictEqual(await store.set('a', 3, { ifRevision: 7 }), { ok: false, revision: 1 });
  assert.deepStrictEqual(await store.set('a', 4, { ifRevision: 1 }), { ok: true, revision: 2 });
  assert.deepStrictEqual(store.entry('a'), { value: 4, revision: 2, expiresAt: undefined });
  assert.deepStrictEqual(await store.delete('a', { ifRevision: 1 }), { ok: false, revision: 2 });
  assert.deepStrictEqual(await store.delete('a', { ifRevision: 2 }), { ok: true, revision: 3 });
  assert.strictEqual(store.has('a'), false);
  assert.strictEqual(store.revision, 3);
});

test('only numbers can be incremented', { skip }, async () => {
  const store = open();
  const counts = await Promise.all(Array.from({ length: 3000 }, () => store.increment('n')));
  assert.deepStrictEqual(
    counts,
    Array.from({ length: 3000 }, (_, index) => index + 1),
  );
  assert.strictEqual(await store.increment('m', 0.5, { initial: 2 }), 2.5);
  await store.set('text', 'no number');
  await assert.rejects(store.increment('text'), { code: 'ERR_RCLUSTER_NOT_NUMBER' });
  assert.strictEqual(store.get('text'), 'no number');
  assert.strictEqual(await store.increment('huge', 1e308), 1e308);
  await store.set('none', NaN);
  for (const key of ['huge', 'none']) {
    await assert.rejects(store.increment(key, 1e308), { code: 'ERR_RCLUSTER_NOT_NUMBER' });
  }
  assert.deepStrictEqual([store.get('huge'), store.get('none')], [1e308, NaN]);
  const batch = store
    .atomic()
    .set('other', 1)
    .increment('new', 1e308)
    .increment('new', -1e308, { initial: 1 });
  assert.strictEqual((await batch.increment('new', Number.MAX_VALUE).commit()).ok, true);
  await assert.rejects(store.atomic().set('other', 2).increment('new', 1e308).commit(), {
    code: 'ERR_RCLUSTER_NOT_NUMBER',
  });
  assert.deepStrictEqual([store.get('other'), store.get('new')], [1, Number.MAX_VALUE]);
});

test('keys expire, and a watch reports it', { skip }, async () => {
  const store = open();
  const before = Date.now();
  await store.set('long', 1, { ttl: 600_000 });
  const { expiresAt } = store.entry('long');
  assert(expiresAt >= before + 599_998 && expiresAt <= Date.now() + 600_002, 'it is said when');
  // With its history, since without it a value that has expired meanwhile is not reported as set.
  const watch = store.watch({ key: 'short', history: true });
  assert.deepStrictEqual(await take(watch, 1), [{ type: 'synced', revision: 1 }]);
  await store.set('short', 1, { ttl: 60 });
  const hold = setInterval(() => {}, 1000);
  assert.deepStrictEqual(
    (await take(watch, 2)).map(({ type }) => type),
    ['set', 'expire'],
  );
  clearInterval(hold);
  assert.strictEqual(store.get('short'), undefined);
  await store.set('kept', 1, { ttl: 100_000 });
  await store.set('kept', 2, { keepTtl: true });
  assert(store.entry('kept').expiresAt > 0);
  await store.touch('kept', Infinity);
  assert.strictEqual(store.entry('kept').expiresAt, undefined);
  assert.strictEqual(store.stats().expired, 1);
});

test('an expiry is reported before the next write', { skip }, async () => {
  const store = open();
  const watch = store.watch({ history: true });
  const writes = {
    set: (key) => store.set(key, 2, { ifAbsent: true }),
    increment: (key) => store.increment(key),
    touch: (key) => store.touch(key, 1000),
    delete: (key) => store.delete(key),
    batch: (key) => store.atomic().check(key, 0).set('other', key).commit(),
    clear: (key) => store.clear({ prefix: key }),
  };
  const results = {};
  for (const [key, write] of Object.entries(writes)) {
    await store.set(key, 1, { ttl: 1 });
    while (store.has(key));
    results[key] = await write(key);
  }
  const last = (await store.set('last', 1)).revision;
  const events = await take(watch, last + 1);
  const told = events.map(({ type, key }) => `${type} ${key}`);
  for (const key of Object.keys(writes)) {
    const at = told.indexOf(`set ${key}`);
    assert.strictEqual(told[at + 1], `expire ${key}`);
  }
  assert.strictEqual(results.set.ok, true);
  assert.strictEqual(results.increment, 1);
  assert.deepStrictEqual([results.touch.ok, results.delete.ok, results.clear], [false, false, 0]);
  assert.strictEqual(results.batch.ok, true);
  assert.strictEqual(store.stats().expired, Object.keys(writes).length);
});

test('a watch from a revision that the store has not reached starts over', { skip }, async () => {
  const store = open();
  await store.set('key', 'value');
  // The revision of an earlier store with this name, which ended with its primary.
  const watch = store.watch({ since: 1000 });
  const types = (await take(watch, 3)).map(({ type }) => type);
  assert.deepStrictEqual(types, ['resync', 'set', 'synced']);
  await assert.rejects(store.watch({ since: 1000, history: true }).next(), {
    code: 'ERR_RCLUSTER_COMPACTED',
  });
  assert.strictEqual((await store.watch({ since: store.revision }).next()).value.type, 'synced');
});

test('an error of a batch names the keys that may have caused it', { skip }, async () => {
  const store = open({ size: '1MB' });
  await store.set('text', 'a');
  await assert.rejects(store.atomic().set('a', 1).increment('text').commit(), {
    code: 'ERR_RCLUSTER_NOT_NUMBER',
    message: 'The value of "text" is not a number, or the sum is not finite',
  });
  await assert.rejects(store.atomic().increment('text').increment('b').commit(), {
    message: 'The value of "text" or "b" is not a number, or the sum is not finite',
  });
  const batch = store.atomic();
  for (let i = 0; i < 1024; i += 1) batch.set(`key ${i}`, 'x'.repeat(100));
  await assert.rejects(batch.commit(), { code: 'ERR_RCLUSTER_TOO_LARGE', message: /^The batch / });
  assert.strictEqual(store.size, 1);
});

test('a batch is done all at once or not at all', { skip }, async () => {
  const store = open();
  await store.set('from', 10);
  const { revision } = store.entry('from');
  const move = () => store.atomic().check('from', revision).increment('from', -4).increment('to', 4).commit();
  assert.deepStrictEqual(await move(), { ok: true, revision: 2 });
  assert.deepStrictEqual([store.get('from'), store.get('to')], [6, 4]);
  assert.strictEqual((await move()).ok, false);
  assert.deepStrictEqual([store.get('from'), store.get('to')], [6, 4]);
  const batch = store.atomic().set('x', 'y').delete('from');
  assert.strictEqual((await batch.commit()).ok, true);
  await assert.rejects(batch.commit(), { code: 'ERR_INVALID_STATE' });
  assert.deepStrictEqual(store.keys(), Object.assign(['to', 'x'], { revision: 3 }));
  assert.deepStrictEqual(await store.atomic().commit(), { ok: true, revision: 3 });
  // What fails has the revision of the value that there is, and not that of one in the batch.
  assert.deepStrictEqual(await store.atomic().set('q', 1).check('q', 0).commit(), { ok: false, revision: 0 });
  const twice = store.atomic().set('x', 1).set('x', 2, { ifAbsent: true });
  assert.deepStrictEqual(await twice.commit(), { ok: false, revision: 3 });
});

test('any number of concurrent writes are answered, each with its own result', { skip }, async () => {
  const store = open();
  let total = 0;
  for (const length of [1, 127, 128, 129, 300, 1023, 1024, 1025, 3000]) {
    for (let round = 0; round < 20; round++) {
      const counts = await Promise.all(Array.from({ length }, () => store.increment('n')));
      assert.deepStrictEqual(
        counts,
        Array.from({ length }, (_, index) => total + index + 1),
      );
      total += length;
    }
  }
});

test('a loop of writes does not starve the event loop', { skip }, async () => {
  const store = open();
  const turns = { count: 0 };
  setImmediate(() => setImmediate(() => (turns.count += 1)));
  let writes = 0;
  while (turns.count === 0 && writes < 100_000) writes = await store.increment('n');
  assert.strictEqual(turns.count, 1, `after ${writes} writes`);
});

test('a watch gets a write of its own process as soon as that is answered', { skip }, async () => {
  const store = open();
  const watch = store.watch();
  await take(watch, 1);
  const next = watch.next();
  await store.set('key', 1);
  assert.deepStrictEqual((await next).value, { type: 'set', key: 'key', value: 1, revision: 1 });
});

test('entries, keys and clear support prefixes', { skip }, async () => {
  const store = open();
  for (const key of ['a:1', 'b:1', 'a:2']) await store.set(key, { key });
  const entries = store.entries({ prefix: 'a:' });
  assert.deepStrictEqual(
    [...entries],
    [
      ['a:1', { key: 'a:1' }],
      ['a:2', { key: 'a:2' }],
    ],
  );
  assert.strictEqual(entries.revision, 3);
  assert.strictEqual(await store.clear({ prefix: 'a:' }), 2);
  assert.deepStrictEqual([...store.keys()], ['b:1']);
  assert.strictEqual(await store.clear(), 1);
  assert.strictEqual(store.size, 0);
});

test('a watch reports the current content, and then changes', { skip }, async () => {
  const store = open();
  await store.set('a:1', 1);
  await store.set('b', 2);
  const watch = store.watch({ prefix: 'a:' });
  assert.deepStrictEqual(await take(watch, 2), [
    { type: 'set', key: 'a:1', value: 1, revision: 1 },
    { type: 'synced', revision: 2 },
  ]);
  const next = take(watch, 3);
  await store.set('b', 3);
  await store.set('a:2', { x: 1 });
  await store.delete('a:1');
  await store.clear();
  assert.deepStrictEqual(await next, [
    { type: 'set', key: 'a:2', value: { x: 1 }, revision: 4 },
    { type: 'delete', key: 'a:1', revision: 5 },
    { type: 'clear', prefix: '', revision: 6 },
  ]);
  const waiting = watch.next();
  await watch.return();
  assert.deepStrictEqual(await waiting, { done: true, value: undefined });
});

test(
  'of a fast-changing key, only the newest change is reported, but with history every change',
  { skip },
  async () => {
    const store = open();
    const [newest, history] = [store.watch(), store.watch({ history: true, since: 0 })];
    await Promise.all(Array.from({ length: 500 }, () => store.increment('n')));
    assert.deepStrictEqual(await take(newest, 2), [
      { type: 'synced', revision: 0 },
      { type: 'set', key: 'n', value: 500, revision: 500 },
    ]);
    const [synced, ...changes] = await take(history, 501);
    assert.deepStrictEqual(synced, { type: 'synced', revision: 0 });
    assert.deepStrictEqual(
      changes.map(({ value }) => value),
      Array.from({ length: 500 }, (_, index) => index + 1),
    );
    const since = store.watch({ since: 499 });
    assert.strictEqual((await take(since, 1))[0].revision, 500);
  },
);

test(
  'a watch that is too slow gets a resync, or ends because the history is incomplete',
  { skip },
  async () => {
    const store = open({ size: '1MB' });
    await store.set('kept', 'all the time');
    const [newest, history] = [store.watch(), store.watch({ history: true })];
    await take(newest, 2);
    for (let round = 0; round < 40; round++) {
      await Promise.all(Array.from({ length: 100 }, (_, i) => store.set(`key ${i}`, 'x'.repeat(2000))));
    }
    const [first, ...rest] = await take(newest, 103);
    assert.strictEqual(first.type, 'resync');
    assert.strictEqual(rest.at(-1).type, 'synced');
    assert.deepStrictEqual(new Set(rest.map(({ key }) => key)), new Set([...store.keys(), undefined]));
    await assert.rejects(history.next(), { code: 'ERR_RCLUSTER_COMPACTED' });
    await assert.rejects(store.watch({ history: true, since: 0 }).next(), { code: 'ERR_RCLUSTER_COMPACTED' });
  },
);

test('an abandoned watch leaves no listener behind', { skip }, async () => {
  const store = open();
  const { signal } = new AbortController();
  const listeners = () => getEventListeners(signal, 'abort').length;
  const watch = store.watch({ signal });
  assert.strictEqual(listeners(), 0);
  await watch.next();
  const change = watch.next();
  assert.strictEqual(listeners(), 1);
  await store.set('key', 1);
  assert.strictEqual((await change).value.type, 'set');
  assert.strictEqual(listeners(), 0);
});

test('an abort ends a watch', { skip }, async () => {
  const controller = new AbortController();
  const watch = open().watch({ signal: controller.signal });
  await take(watch, 1);
  const waiting = watch.next();
  controller.abort(new Error('enough'));
  await assert.rejects(waiting, { message: 'enough' });
  assert.deepStrictEqual(await watch.next(), { done: true, value: undefined });
});

test(
  'a full store refuses writes, and one with lru makes room for new values and keeps used ones',
  { skip },
  async () => {
    const value = 'x'.repeat(3000);
    const full = open({ size: '1MB' });
    let written = 0;
    const fill = async () => {
      for (;;) {
        await full.set(`${written}`, value);
        written += 1;
      }
    };
    await assert.rejects(fill(), {
      code: 'ERR_RCLUSTER_FULL',
      message: /^The store ".+" is full \(\d+ of \d+ bytes are used\)/,
    });
    assert.strictEqual(full.size, written);
    assert((written * 3000) / 2 ** 20 > 0.55, 'more than half of it is for values');
    await full.delete('0');
    assert.strictEqual((await full.set('again', value)).ok, true);

    const lru = open({ size: '1MB', eviction: 'lru' });
    await lru.set('used', value);
    for (let i = 0; i < 1000; i++) {
      assert.strictEqual(lru.get('used'), value);
      assert.strictEqual((await lru.set(`${i}`, value)).ok, true);
    }
    assert(lru.has('999') && !lru.has('0'));
    assert(lru.stats().evicted > 500);
  },
);

test('invalid arguments are refused with a code', { skip }, async () => {
  const store = open();
  const type = { code: 'ERR_INVALID_ARG_TYPE' };
  const value = { code: 'ERR_INVALID_ARG_VALUE' };
  const range = { code: 'ERR_OUT_OF_RANGE' };
  for (const key of [undefined, null, 5, Symbol('s'), {}]) {
    assert.throws(() => store.get(key), type);
    assert.throws(() => store.has(key), type);
    await assert.rejects(store.set(key, 1), type);
  }
  await assert.rejects(store.set('\ud800', 1), value);
  await assert.rejects(store.set('k'.repeat(1025), 1), {
    code: 'ERR_RCLUSTER_TOO_LARGE',
    message: /^A key has at most 1024 bytes, and "k+…" has 1025$/,
  });
  assert.strictEqual((await store.set('k'.repeat(1024), 1)).ok, true);
  assert.strictEqual(store.get('k'.repeat(1025)), undefined);
  const tooLarge = { code: 'ERR_RCLUSTER_TOO_LARGE' };
  assert.throws(() => store.keys({ prefix: 'k'.repeat(1025) }), tooLarge);
  assert.throws(() => store.watch({ key: 'k'.repeat(1025) }), tooLarge);
  const { maxValue } = store.stats();
  assert.strictEqual((await store.set('long', Buffer.alloc(maxValue))).ok, true);
  await assert.rejects(store.set('long', Buffer.alloc(maxValue + 1)), {
    code: 'ERR_RCLUSTER_TOO_LARGE',
    message: `The value of "long" is larger than the store accepts: at most ${maxValue} bytes`,
  });
  await assert.rejects(store.set('a', undefined), value);
  await assert.rejects(
    store.set('a', () => {}),
    { code: 'ERR_RCLUSTER_SHARED_VALUE' },
  );
  for (const ttl of [0, -1, NaN]) await assert.rejects(store.set('a', 1, { ttl }), range);
  await assert.rejects(store.set('a', 1, { ttl: '5' }), type);
  await assert.rejects(store.set('a', 1, { tll: 5 }), value);
  await assert.rejects(store.set('a', 1, { ifAbsent: true, ifRevision: 1 }), value);
  await assert.rejects(store.set('a', 1, { ifRevision: 1.5 }), range);
  await assert.rejects(store.increment('a', '1'), type);
  await assert.rejects(store.increment('a', Infinity), value);
  await assert.rejects(store.touch('a'), type);
  assert.throws(() => store.watch({ key: 'a', prefix: 'b' }), value);
  assert.throws(() => store.watch({ since: -1 }), range);
  assert.throws(() => cluster.shared(5), type);
  assert.throws(() => cluster.shared('a', { sise: 5 }), value);
  assert.throws(() => cluster.shared('a', { size: '5XB' }), value);
  // The native part checks these two.
  assert.throws(() => cluster.shared('a', { size: 5 }), { ...range, name: 'RangeError' });
  assert.throws(() => cluster.shared('a', { eviction: 'mru' }), value);
  assert.throws(() => cluster.shared('n'.repeat(300)), { ...value, name: 'TypeError' });
  assert.strictEqual(store.has('a'), false);
});

test('an error of a watch names the option', { skip }, () => {
  const store = open();
  for (const [name, value] of Object.entries({ history: 1, signal: {} })) {
    const message = new RegExp(`"options\\.${name}" argument`);
    assert.throws(() => store.watch({ [name]: value }), { code: 'ERR_INVALID_ARG_TYPE', message });
  }
});

test('a name refers to one store, and other options for it are refused', { skip }, () => {
  const store = cluster.shared('one', { size: '2MB' });
  assert.strictEqual(cluster.shared('one'), store);
  assert.strictEqual(cluster.shared('one', { size: 2 * 2 ** 20 }), store);
  assert.strictEqual(cluster.shared('one', { eviction: 'none' }), store);
  assert.throws(() => cluster.shared('one', { size: '4MB', eviction: 'lru' }), {
    code: 'ERR_RCLUSTER_SHARED_OPTIONS',
    message: /size is 2097152 and not 4194304, eviction is none and not lru/,
  });
});

test('nothing is loaded and no thread is started before the first store', { skip }, () => {
  const program = `
    const fs = require('node:fs');
    const cluster = require(${JSON.stringify(OURS)});
    const look = () => [
      fs.readdirSync('/proc/self/task').filter((id) =>
        fs.readFileSync('/proc/self/task/' + id + '/comm', 'utf8').startsWith('rcluster-store')).length,
      Object.keys(require.cache).filter((file) => file.includes('/lib/shared/')).length > 0,
    ];
    const before = look();
    cluster.shared('first');
    console.log(JSON.stringify([before, look()]));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  assert.strictEqual(stderr, '');
  assert.deepStrictEqual(JSON.parse(stdout), [
    [0, false],
    [1, true],
  ]);
});

test('an unanswered write keeps the process alive, and a watch does not', { skip }, () => {
  const program = `
    const cluster = require(${JSON.stringify(OURS)});
    const store = cluster.shared('alive');
    void store.watch().next().then(() => store.watch({ since: 1000 }).next());
    store.set('a', 1).then(({ revision }) => console.log('written', revision));`;
  const { stdout, status } = spawnSync(process.execPath, ['-e', program], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.deepStrictEqual([stdout, status], ['written 1\n', 0]);
});

test('a worker thread is refused', { skip }, async () => {
  const program = `
    const cluster = require(${JSON.stringify(OURS)});
    try { cluster.shared('thread'); } catch ({ code }) { require('node:worker_threads').parentPort.postMessage(code); }`;
  const thread = new Worker(program, { eval: true });
  const [code] = await once(thread, 'message');
  assert.strictEqual(code, 'ERR_RCLUSTER_SHARED');
  await thread.terminate();
});
