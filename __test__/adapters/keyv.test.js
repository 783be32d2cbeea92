'use strict';

// rcluster/keyv: values cached by one worker are available in all, with the real Keyv, cache-manager and
// cacheable. The single-process cases are those of Keyv's own tests of storage adapters.

const assert = require('node:assert');
const path = require('node:path');
const { describe, test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');
const { withProgram } = require('../helpers/programs.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const APP = path.join(__dirname, '..', 'fixtures', 'adapters', 'keyv');

describe('caches made of Keyv', { skip }, () => {
  for (const [name, methods] of Object.entries({
    keyv: { many: 'getMany', has: true },
    manager: { many: 'mget', has: false },
    cacheable: { many: 'getMany', has: true },
  })) {
    test(`are the same in all workers, under load: ${name}`, () =>
      withProgram(APP, async (target, pids) => {
        const served = new Set();
        const ask = async (method, ...args) => {
          const query = encodeURIComponent(JSON.stringify(args));
          const { status, body } = await get({ ...target, path: `/${name}/${method}?args=${query}` });
          assert.strictEqual(status, 200, body);
          const { pid, result } = JSON.parse(body);
          served.add(pid);
          return result;
        };
        await Promise.all(
          Array.from({ length: 16 }, async (_, client) => {
            for (let round = 0; round < 8; round++) {
              const [key, value] = [`key ${client}`, { round, client }];
              await ask('set', key, value, 600_000);
              assert.deepStrictEqual(await ask('get', key), value);
              if (methods.has) assert.strictEqual(await ask('has', key), true);
              await ask(name === 'manager' ? 'del' : 'delete', key);
              assert.strictEqual(await ask('get', key), null);
            }
          }),
        );
        assert.deepStrictEqual([...served].toSorted(), pids.toSorted());
        await ask('set', 'a', 1);
        await ask('set', 'b', 'ä');
        assert.deepStrictEqual(await ask(methods.many, ['a', 'none', 'b']), [1, null, 'ä']);
        await ask('clear');
        assert.deepStrictEqual(await ask(methods.many, ['a', 'b']), [null, null]);
      }));
  }
});

describe('KeyvShared', { skip }, () => {
  const cluster = isBuiltin ? undefined : require(OURS);
  const { Keyv } = isBuiltin ? { Keyv: undefined } : require('keyv');
  let count = 0;

  // Documented, with how to turn it off.
  for (const [useKeyPrefix, stored] of [
    [true, 'ns\0ns:a'],
    [false, 'ns\0a'],
  ]) {
    test(`stores a key with its namespace, useKeyPrefix ${useKeyPrefix}`, async () => {
      const { KeyvShared } = require('rcluster/keyv');
      const shared = cluster.shared(`prefixed ${useKeyPrefix}`, { size: '1MB' });
      const keyv = new Keyv({ store: new KeyvShared({ store: shared }), namespace: 'ns', useKeyPrefix });
      await keyv.set('a', 1);
      assert.deepStrictEqual([...shared.keys()], [stored]);
      assert.strictEqual(await keyv.get('a'), 1);
      const found = [];
      for await (const entry of keyv.iterator()) found.push(entry);
      assert.deepStrictEqual(found, [['a', 1]]);
      await keyv.clear();
      assert.deepStrictEqual([...shared.keys()], []);
    });
  }

  test('reports keys and values that are too large', async () => {
    const { KeyvShared } = require('rcluster/keyv');
    const store = new KeyvShared({ store: cluster.shared('too large', { size: '1MB' }) });
    const keyv = new Keyv({ store });
    const codes = [];
    keyv.on('error', ({ code }) => codes.push(code));
    assert.strictEqual(await keyv.set('x'.repeat(2000), 1), false);
    assert.strictEqual(await keyv.set('\ud800', 1), false);
    assert.strictEqual(await keyv.set('a', 'x'.repeat(2 ** 20)), false);
    assert.deepStrictEqual(codes, [
      'ERR_RCLUSTER_TOO_LARGE',
      'ERR_INVALID_ARG_VALUE',
      'ERR_RCLUSTER_TOO_LARGE',
    ]);
    const throwing = new Keyv({ store, throwOnErrors: true });
    throwing.on('error', () => {});
    await assert.rejects(throwing.set('x'.repeat(2000), 1), { code: 'ERR_RCLUSTER_TOO_LARGE' });
  });

  function open(options, store = cluster.shared(`keyv ${(count += 1)}`, { size: '1MB' })) {
    const { KeyvShared } = require('rcluster/keyv');
    const keyv = new Keyv({ store: new KeyvShared({ store }), throwOnErrors: true, ...options });
    return { keyv, store };
  }

  test('sets, gets, and checks whether a key exists', async () => {
    const { keyv } = open();
    assert.strictEqual(await keyv.set('foo', 'bar'), true);
    assert.strictEqual(await keyv.get('foo'), 'bar');
    assert.strictEqual(await keyv.get('none'), undefined);
    assert.deepStrictEqual([await keyv.has('foo'), await keyv.has('none')], [true, false]);
    assert.deepStrictEqual(await keyv.hasMany(['foo', 'none']), [true, false]);
    assert.deepStrictEqual(await keyv.get(['foo', 'none']), ['bar', undefined]);
    assert.deepStrictEqual(await keyv.get(['x', 'y']), [undefined, undefined]);
    const entries = Array.from({ length: 1500 }, (_, number) => ({ key: `many ${number}`, value: number }));
    const { keyv: large } = open({}, cluster.shared('large keyv', { size: '16MB' }));
    assert.deepStrictEqual(
      await large.setMany(entries),
      entries.map(() => true),
    );
    assert.deepStrictEqual(
      await large.getMany(entries.map(({ key }) => key)),
      entries.map(({ value }) => value),
    );
  });

  test('stores all values that Keyv does', async () => {
    for (const options of [{}, { serialize: undefined, deserialize: undefined }]) {
      const { keyv } = open(options);
      const values = [
        false,
        true,
        null,
        0,
        -1.5,
        '',
        'text',
        '"',
        "'",
        'ü\u{1f600}',
        { fizz: 'buzz' },
        [1, [2]],
      ];
      values.push(Buffer.from('bar'), { buff: Buffer.from('buzz') }, 'x'.repeat(5000));
      for (const value of values) {
        await keyv.set('key', value);
        const found = await keyv.get('key');
        if (Buffer.isBuffer(value)) assert(value.equals(found));
        else if (value?.buff === undefined) assert.deepStrictEqual(found, value);
        else assert.deepStrictEqual(Buffer.from(found.buff), value.buff);
      }
      await keyv.set('key', undefined);
      assert.strictEqual(await keyv.get('key'), undefined);
      await assert.rejects(keyv.set('key', Symbol('value')), /symbol/);
      for (const key of ["'", '"', '\0', 'ä', 'a:b', '']) {
        await keyv.set(key, key);
        assert.strictEqual(await keyv.get(key), key);
      }
    }
  });

  test('lets values expire, in the store as well', async () => {
    const { keyv, store } = open({ ttl: 600_000 });
    const rest = () => store.entry(store.keys()[0]).expiresAt - Date.now();
    await keyv.set('foo', 'bar');
    assert(rest() > 500_000);
    await keyv.set('foo', 'bar', 60_000);
    assert(rest() <= 60_000);
    await keyv.set('foo', 'bar', 0);
    assert.strictEqual(store.entry(store.keys()[0]).expiresAt, undefined);
    await keyv.set('foo', 'bar', 1);
    await until('it has expired', () => store.size === 0);
    assert.deepStrictEqual([await keyv.get('foo'), await keyv.has('foo')], [undefined, false]);
    await keyv.set('foo', 'bar', 60_000);
    await keyv.set('foo', 'bar', -1);
    assert.strictEqual(await keyv.get('foo'), undefined);
  });

  test('deletes one, many, and all', async () => {
    const { keyv } = open();
    await keyv.set('foo', 1);
    assert.deepStrictEqual([await keyv.delete('foo'), await keyv.delete('foo')], [true, false]);
    assert.strictEqual(await keyv.get('foo'), undefined);
    for (const key of ['a', 'b', 'c']) await keyv.set(key, key);
    assert.strictEqual(await keyv.delete(['a', 'b']), true);
    assert.strictEqual(await keyv.delete(['a', 'c']), false);
    assert.deepStrictEqual(await keyv.getMany(['a', 'b', 'c']), [undefined, undefined, undefined]);
    await keyv.set('a', 1);
    assert.strictEqual(await keyv.clear(), undefined);
    assert.strictEqual(await keyv.get('a'), undefined);
  });

  for (const useKeyPrefix of [true, false]) {
    test(`keeps namespaces apart${useKeyPrefix ? '' : ', even if Keyv leaves that to the store'}`, async () => {
      const { keyv: one, store } = open({ namespace: 'one', useKeyPrefix });
      const { keyv: two } = open({ namespace: 'two', useKeyPrefix }, store);
      const { keyv: none } = open({ namespace: '', useKeyPrefix }, store);
      for (const keyv of [one, two, none]) {
        await keyv.set('foo', keyv.namespace ?? 'none');
        await keyv.set('bar', keyv.namespace ?? 'none');
      }
      assert.deepStrictEqual(await Promise.all([one, two, none].map((keyv) => keyv.get('foo'))), [
        'one',
        'two',
        'none',
      ]);
      assert.strictEqual(await one.delete('foo'), true);
      assert.strictEqual(await two.get('foo'), 'two');
      await one.clear();
      assert.deepStrictEqual(
        [await one.get('bar'), await two.get('bar'), await none.get('bar')],
        [undefined, 'two', 'none'],
      );
      await none.clear();
      assert.deepStrictEqual(await two.getMany(['foo', 'bar']), ['two', 'two']);

      const entries = [];
      for await (const entry of two.iterator()) entries.push(entry);
      assert.deepStrictEqual(entries.toSorted(), [
        ['bar', 'two'],
        ['foo', 'two'],
      ]);
      for await (const entry of one.iterator()) assert.fail(`there is ${entry}`);
    });
  }

  test('reports errors, and refuses unsupported options', async () => {
    const { KeyvShared } = require('rcluster/keyv');
    const { keyv, store } = open();
    await assert.rejects(keyv.set('a', 'x'.repeat(2 ** 20)), { code: 'ERR_RCLUSTER_TOO_LARGE' });
    const { keyv: quiet } = open({ throwOnErrors: false }, store);
    const told = [];
    quiet.on('error', ({ code }) => told.push(code));
    assert.strictEqual(await quiet.set('a', 'x'.repeat(2 ** 20)), false);
    assert.deepStrictEqual(told, ['ERR_RCLUSTER_TOO_LARGE']);
    assert.throws(() => new KeyvShared({ namespce: 'a' }), /Did you mean "namespace"\?/);
    assert.throws(() => new KeyvShared({ namespace: 'a\0' }), { code: 'ERR_INVALID_ARG_VALUE' });
    assert.throws(() => new KeyvShared({ store: new Map() }), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});
