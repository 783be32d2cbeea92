'use strict';

// shared() with a source, in one process: loaded values go into the store, and only changed ones are written; the content
// stays when a load fails; files are watched.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const events = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { inspect } = require('node:util');
const { after, test } = require('node:test');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const cluster = isBuiltin ? undefined : require(OURS);

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-source-'));
after(() => fs.rmSync(directory, { recursive: true }));

// Listeners do not keep the process alive.
const alive = setInterval(() => {}, 2 ** 30);
after(() => clearInterval(alive));

let count = 0;
const open = (source, options) => cluster.shared(`source ${(count += 1)}`, { source, ...options });

/** A loader with the given results, in this order; the last one is repeated. */
function scripted(...script) {
  let at = 0;
  return () => {
    const next = script[Math.min(at, script.length - 1)];
    at += 1;
    if (next instanceof Error) throw next;
    return next;
  };
}

/** Waits until a store has received a change that matches. */
function told(store, fits) {
  return new Promise((resolve) => {
    const listener = (event) => {
      if (!fits(event)) return;
      store.off('change', listener);
      resolve(event);
    };
    store.on('change', listener);
  });
}

test('only changed values are written, and missing keys are deleted', { skip }, async () => {
  const text = 'ü'.repeat(300);
  const same = {
    number: 1,
    text,
    list: [1, { a: 'ü' }],
    map: new Map([[1, 2]]),
    bytes: Buffer.from('x'),
    no: null,
  };
  const store = open({ load: scripted({ ...same, gone: 1, n: 1 }, { ...same, n: 2 }), every: 2 });
  const seen = [];
  store.on('change', (event) => seen.push(event));
  const deleted = told(store, ({ type }) => type === 'delete');
  await store.ready;
  const { revision } = store.entry('text');
  await deleted;
  await events.once(store, 'load');
  assert.deepStrictEqual(Object.fromEntries(store.entries()), { ...same, n: 2 });
  assert.strictEqual(store.entry('text').revision, revision, 'it was written once');
  assert.strictEqual(store.revision, revision + 1, 'and what has changed under one revision');
  assert.strictEqual(seen.filter(({ key }) => key === 'n').length, 2);
  assert.strictEqual(seen.length, 10);
});

test('a failed load keeps the old values and is reported', { skip }, async () => {
  const warnings = [];
  const onWarning = (warning) => warning.code === 'RCLUSTER_SHARED_SOURCE' && warnings.push(warning.message);
  process.on('warning', onWarning);
  const error = Object.assign(new TypeError('no database'), { code: 'ECONNREFUSED' });
  const store = open({ load: scripted({ a: 1 }, error, error, error, { a: 2 }), every: 5 });
  await store.ready;
  const [failed] = await events.once(store, 'loadError');
  assert.deepStrictEqual(
    [failed.name, failed.message, failed.code],
    ['TypeError', 'no database', 'ECONNREFUSED'],
  );
  assert.strictEqual(store.get('a'), 1);
  const { loads, failures, age, failedAt, error: last, here } = store.stats().source;
  assert.strictEqual(last.code, 'ECONNREFUSED');
  assert(loads === 1 && failures >= 1 && age >= 0 && failedAt <= Date.now() && here);
  await told(store, ({ value }) => value === 2);
  await events.once(store, 'load');
  assert.deepStrictEqual(store.stats().source.failures, 0);
  assert.strictEqual(store.stats().source.error, undefined);
  assert.strictEqual(warnings.length, 1, warnings.join('\n'));
  process.off('warning', onWarning);
});

test('a value that cannot be stored fails the whole load', { skip }, async () => {
  const store = open({ load: scripted({ a: 1, b: 1 }, { a: 2, b: () => {} }), every: 5 });
  await store.ready;
  const [{ code }] = await events.once(store, 'loadError');
  assert.strictEqual(code, 'ERR_RCLUSTER_SHARED_VALUE');
  assert.deepStrictEqual(Object.fromEntries(store.entries()), { a: 1, b: 1 });
});

test('a load may return an object, a Map, or items with a key', { skip }, async () => {
  const items = [
    { id: 'a', n: 1 },
    { id: 'b', n: 2 },
  ];
  const expected = Object.fromEntries(items.map((item) => [item.id, item]));
  const ways = [
    { load: () => expected },
    { load: async () => new Map(Object.entries(expected)) },
    { load: () => items, key: 'id' },
    { load: () => new Set(items), key: ({ id }) => id },
  ];
  for (const way of ways) {
    const store = open({ ...way, every: 60_000 });
    await store.ready;
    assert.deepStrictEqual(Object.fromEntries(store.entries()), expected);
  }
  for (const loaded of [
    undefined,
    null,
    'text',
    items,
    new Date(),
    [['a', 1]],
    new Set(['a']),
    Buffer.of(1),
  ]) {
    const [error] = await events.once(open({ load: () => loaded, every: 60_000 }), 'loadError');
    assert.strictEqual(error.code, 'ERR_RCLUSTER_SOURCE', `${loaded}`);
  }
  for (const way of [
    { load: () => [items[0], items[0]], key: 'id' },
    { load: () => [{}], key: 'id' },
    { load: () => expected, key: 'id' },
  ]) {
    const [error] = await events.once(open({ ...way, every: 60_000 }), 'loadError');
    assert.strictEqual(error.code, 'ERR_RCLUSTER_SOURCE');
  }
});

test('more changes than fit into a batch are written', { skip }, async () => {
  const all = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`key ${i}`, 'x'.repeat(100)]));
  const store = open({ load: scripted(all, { 'key 1': 'x'.repeat(100), other: 1 }), every: 5 });
  await store.ready;
  await told(store, ({ key }) => key === 'other');
  await events.once(store, 'load');
  assert.deepStrictEqual(store.keys().slice(), ['key 1', 'other']);
});

test('a load that does not end is aborted, and retried', { skip }, async () => {
  const signals = [];
  const load = ({ signal }) => {
    signals.push(signal);
    return signals.length < 3 ? new Promise(() => {}) : { done: true };
  };
  const store = open({ load, every: 1, timeout: 5 });
  const [error] = await events.once(store, 'loadError');
  assert.strictEqual(error.code, 'ERR_RCLUSTER_SOURCE');
  await store.ready;
  assert.strictEqual(store.get('done'), true);
  assert(signals[0].aborted && signals[1].aborted && !signals[2].aborted);
});

test('further openers must name the same source, or none', { skip }, async () => {
  const load = () => ({ a: 1 });
  const store = open({ load, every: 60_000 });
  const name = `source ${count}`;
  assert.strictEqual(cluster.shared(name), store);
  assert.strictEqual(cluster.shared(name, { source: { load: () => ({}), every: 60_000 } }), store);
  for (const source of [{ load, every: 50_000 }, { load, polling: 60_000 }, { file: '/nowhere' }]) {
    const expected = { code: 'ERR_RCLUSTER_SHARED_OPTIONS', message: /every 60000 ms/ };
    assert.throws(() => cluster.shared(name, { source }), expected);
  }
  const polled = open({ load, polling: 60_000 });
  assert.strictEqual(cluster.shared(`source ${count}`), polled);
  const again = () => cluster.shared(`source ${count}`, { source: { load, every: 60_000 } });
  assert.throws(again, { code: 'ERR_RCLUSTER_SHARED_OPTIONS' });
  const plain = cluster.shared('source later');
  await plain.ready;
  assert.throws(() => plain.on('load', () => {}), { code: 'ERR_RCLUSTER_SHARED' });
  assert.strictEqual(cluster.shared('source later', { source: { load, every: 60_000 } }), plain);
  await plain.ready;
  assert.strictEqual(plain.get('a'), 1);
});

test('a store whose source could not be attached is refused again', { skip }, () => {
  // A cluster has 256 stores at the most, and the first source opens one for the states of all sources.
  const program = `
    const { shared } = require(${JSON.stringify(OURS)});
    for (let i = 1; i < 256; i++) shared('store ' + i, { size: '1MB' });
    for (let i = 0; i < 2; i++) {
      try {
        shared('last', { size: '1MB', source: { load: () => ({ key: 1 }), every: 1000 } });
        console.log('opened');
      } catch ({ code }) {
        console.log(code);
      }
    }
  `;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  assert.deepStrictEqual([status, stderr], [0, '']);
  assert.strictEqual(stdout, 'ERR_RCLUSTER_SHARED\n'.repeat(2));
});

test('invalid options are refused', { skip }, () => {
  const load = () => ({});
  const wrong = [
    [5, 'ERR_INVALID_ARG_TYPE'],
    [{}, 'ERR_INVALID_ARG_VALUE'],
    [{ load, file: 'x' }, 'ERR_INVALID_ARG_VALUE'],
    [{ load }, 'ERR_INVALID_ARG_VALUE'],
    [{ load, every: 1, polling: 1 }, 'ERR_INVALID_ARG_VALUE'],
    [{ load: 'x', every: 1 }, 'ERR_INVALID_ARG_TYPE'],
    [{ load, every: '1' }, 'ERR_INVALID_ARG_TYPE'],
    [{ load, every: 0 }, 'ERR_OUT_OF_RANGE'],
    [{ load, every: 2 ** 31 }, 'ERR_OUT_OF_RANGE'],
    [{ load, every: NaN }, 'ERR_OUT_OF_RANGE'],
    [{ load, every: 1, timeout: 0 }, 'ERR_OUT_OF_RANGE'],
    [{ load, every: 1, key: 5 }, 'ERR_INVALID_ARG_TYPE'],
    [{ load, every: 1, parse: JSON.parse }, 'ERR_INVALID_ARG_VALUE'],
    [{ file: '' }, 'ERR_INVALID_ARG_TYPE'],
    [{ file: 'a\0b' }, 'ERR_INVALID_ARG_VALUE'],
    [{ file: 'x', polling: 5 }, 'ERR_INVALID_ARG_VALUE'],
    [{ load, evry: 1 }, 'ERR_INVALID_ARG_VALUE'],
  ];
  for (const [source, code] of wrong) {
    assert.throws(() => open(source), { code }, JSON.stringify(source));
  }
  assert.throws(() => open({ load, polling: 5 }, { size: '1MB' }), { code: 'ERR_INVALID_ARG_VALUE' });
});

test('a file is watched, however it is written', { skip }, async () => {
  const file = path.join(directory, 'later', 'config.json');
  const store = open({ file });
  const [{ code }] = await events.once(store, 'loadError');
  assert.strictEqual(code, 'ENOENT');
  fs.mkdirSync(path.dirname(file));
  fs.writeFileSync(file, '{"n":0}');
  await store.ready;
  assert.strictEqual(store.get('n'), 0);
  const set = (n) => told(store, (event) => event.key === 'n' && event.value === n);
  // In place, in two parts.
  let next = set(1);
  const fd = fs.openSync(file, 'w');
  fs.writeSync(fd, '{"n":');
  fs.writeSync(fd, '1}');
  fs.closeSync(fd);
  await next;
  // Renamed over it, as editors do.
  next = set(2);
  fs.writeFileSync(`${file}~`, '{"n":2}');
  fs.renameSync(`${file}~`, file);
  await next;
  // A link that is replaced.
  next = set(3);
  fs.writeFileSync(path.join(directory, 'other.json'), '{"n":3}');
  fs.symlinkSync(path.join(directory, 'other.json'), `${file}~`);
  fs.renameSync(`${file}~`, file);
  await next;
  const failed = events.once(store, 'loadError');
  fs.writeFileSync(file, '{"n":');
  assert.strictEqual((await failed)[0].name, 'SyntaxError');
  assert.strictEqual(store.get('n'), 3);
  next = set(4);
  // With a byte order mark, as some editors write it.
  fs.writeFileSync(file, '\uFEFF{"n":4}');
  await next;
});

test('a file may have another format, but may not be a pipe', { skip }, async () => {
  const file = path.join(directory, 'list.txt');
  fs.writeFileSync(file, 'a 1\nb 2\n');
  const parse = (text) =>
    text
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
  const store = open({ file, parse, key: ([key]) => key });
  await store.ready;
  assert.deepStrictEqual(store.get('b'), ['b', '2']);
  const [{ code }] = await events.once(open({ file: directory }), 'loadError');
  assert.strictEqual(code, 'ERR_RCLUSTER_SOURCE');
});

test('with polling, each process has its own store, which is read-only', { skip }, async () => {
  const store = open({
    load: scripted({ a: 1, list: [1], b: Buffer.from('x'), no: null, yes: true }, { a: 2 }, new Error('no')),
    polling: 2,
  });
  const changed = told(store, ({ value }) => value === 2);
  await store.ready;
  const { list, no, yes } = Object.fromEntries(store.entries());
  assert.deepStrictEqual([list, no, yes, store.has('a'), store.size], [[1], null, true, true, 5]);
  store.get('list').push(2);
  assert.deepStrictEqual([store.get('list'), `${store.get('b')}`], [[1], 'x']);
  assert.deepStrictEqual(store.keys({ prefix: 'l' }).slice(), ['list']);
  await changed;
  const [error] = await events.once(store, 'loadError');
  assert.strictEqual(error.message, 'no');
  assert.deepStrictEqual([store.get('a'), store.keys().slice(), store.revision], [2, ['a'], 2]);
  const { source } = store.stats();
  assert(source.failures > 0 && source.loads === 2 && source.age >= 0);
  for (const name of ['set', 'delete', 'increment', 'clear', 'atomic', 'watch']) {
    assert.throws(() => store[name]('a', 1), { code: 'ERR_RCLUSTER_POLLED' }, name);
  }
});

for (const kind of ['every', 'polling']) {
  test(
    `a source with ${kind} continues when it throws a value that cannot be inspected`,
    { skip },
    async () => {
      const thrown = { [inspect.custom]: () => assert.fail('an inspection') };
      let loads = 0;
      const load = () => {
        loads += 1;
        if (loads === 1) throw thrown;
        return { loads };
      };
      const store = open({ load, [kind]: 2 });
      await store.ready;
      assert(store.get('loads') >= 2);
    },
  );
}

/** @param {string} body */
function run(body) {
  const code = `const cluster = require(${JSON.stringify(OURS)});\n${body}`;
  const child = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8', timeout: 60_000 });
  return [child.status, child.stdout, child.stderr];
}

for (const kind of ['every', 'polling']) {
  test(`a source with ${kind} does not keep the process alive, but waiting for it does`, { skip }, () => {
    const source = (load) => `cluster.shared('s', { source: { load: ${load}, ${kind}: 10 } })`;
    assert.deepStrictEqual(run(`${source('() => ({ a: 1 })')}.on('change', () => {});`), [0, '', '']);
    const slow = `(() => { let n = 0; return () => { if (n++ < 5) throw new Error('not yet'); return { n }; }; })()`;
    const [status, stdout] = run(`const s = ${source(slow)}; s.ready.then(() => console.log(s.get('n')));`);
    assert.deepStrictEqual([status, stdout], [0, '6\n']);
  });
}
