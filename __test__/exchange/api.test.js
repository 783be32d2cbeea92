'use strict';

// Requests in one process without workers, where the same code runs: validation, and the cost without use.

/* oxlint-disable unicorn/no-thenable -- the test is about how the result of a handler is awaited */

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { describe, test } = require('node:test');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no requests';
const cluster = isBuiltin ? {} : require(OURS);

/** A handler as long as the body runs. */
async function handling(name, fn, body, options) {
  const handler = cluster.handle(name, fn, options);
  try {
    return await body(handler);
  } finally {
    handler.stop();
  }
}

const rejected = (promise, code) => assert.rejects(promise, { code });

describe('in a process without workers', { skip }, () => {
  test('any, all and the primary are this process', () =>
    handling(
      'sum',
      (list, { worker, name }) => ({ sum: list[0] + list[1], worker, name }),
      async () => {
        const expected = { sum: 3, worker: 0, name: 'sum' };
        assert.deepStrictEqual(await cluster.request('any', 'sum', [1, 2]), expected);
        assert.deepStrictEqual(await cluster.request('primary', 'sum', [1, 2]), expected);
        assert.deepStrictEqual(await cluster.request('all', 'sum', [1, 2]), [
          { worker: 0, status: 'fulfilled', value: expected },
        ]);
        await rejected(cluster.request(1, 'sum', [1, 2]), 'ERR_RCLUSTER_GONE');
        await rejected(cluster.request({ slot: 0 }, 'sum'), 'ERR_RCLUSTER_GONE');
      },
    ));

  test('a name without handlers is reported', async () => {
    await rejected(cluster.request('primary', 'nobody'), 'ERR_RCLUSTER_NO_HANDLER');
    await rejected(cluster.request('any', 'nobody'), 'ERR_RCLUSTER_NO_HANDLER');
    await rejected(cluster.request({ leader: 'nobody' }, 'x'), 'ERR_RCLUSTER_NO_LEADER');
    assert.deepStrictEqual(await cluster.request('all', 'nobody'), []);
    cluster.notify('all', 'nobody', 1);
    const handler = cluster.handle('stops', () => 1);
    assert.strictEqual(handler.name, 'stops');
    assert.throws(() => cluster.handle('stops', () => 2), { code: 'ERR_RCLUSTER_HANDLER_EXISTS' });
    assert.strictEqual(await cluster.request('primary', 'stops'), 1);
    handler.stop();
    handler.stop();
    await rejected(cluster.request('primary', 'stops'), 'ERR_RCLUSTER_NO_HANDLER');
    await handling(
      'stops',
      () => 2,
      async () => {
        handler.stop();
        assert.strictEqual(await cluster.request('primary', 'stops'), 2, 'it ends only what it began');
      },
    );
  });

  test('values are clones', () =>
    handling(
      'echo',
      (value) => value,
      async () => {
        const shared = {};
        for (const value of [
          undefined,
          null,
          0,
          -0,
          NaN,
          '',
          'text \ud800',
          [],
          Object.assign([], { 0: 1, 2: 3 }),
          Object.assign([], { 1: 1, name: 'a' }),
          { a: [{ b: 'c' }], __proto__: null },
          { a: shared, b: shared },
          new Map([[1, 2]]),
          new Date(7),
          5n,
          Buffer.from('bytes'),
          new Float64Array([1.5]),
          JSON.parse('{"__proto__": 1}'),
        ]) {
          const result = await cluster.request('primary', 'echo', value);
          assert.deepStrictEqual(result, Object.getPrototypeOf(value ?? 0) === null ? { ...value } : value);
          if (value?.a === shared) assert.strictEqual(result.a, result.b);
        }
        let deep = {};
        for (let i = 0; i < 500; i++) deep = { deep };
        assert.deepStrictEqual(await cluster.request('primary', 'echo', deep), deep);
        const memory = new SharedArrayBuffer(8);
        const refused = [() => {}, { f() {} }, Symbol('s'), new WeakSet(), Promise.resolve(), memory];
        for (const value of refused) {
          await assert.rejects(cluster.request('primary', 'echo', value), { name: 'DataCloneError' });
          assert.throws(() => cluster.notify('primary', 'echo', value), { name: 'DataCloneError' });
        }
      },
    ));

  test('the result of a handler is awaited as by `await`', async () => {
    const named = Object.assign(() => {}, { then: (resolve) => resolve('of a function') });
    class Query {
      then(resolve) {
        resolve('of a class');
      }
    }
    const getter = Object.defineProperty({}, 'then', { get: () => (resolve) => resolve('of a getter') });
    const proxy = new Proxy(
      {},
      { get: (_, key) => (key === 'then' ? (resolve) => resolve('of a proxy') : 0) },
    );
    const refused = new Error('refused');
    const fails = Object.defineProperty({}, 'then', {
      get() {
        throw refused;
      },
    });
    const returned = { named, query: new Query(), getter, proxy, fails, late: Promise.resolve('late') };
    await handling(
      'returns',
      (key) => returned[key] ?? { then: 'is no function' },
      async () => {
        for (const [key, expected] of [
          ['named', 'of a function'],
          ['query', 'of a class'],
          ['getter', 'of a getter'],
          ['proxy', 'of a proxy'],
          ['late', 'late'],
          ['other', { then: 'is no function' }],
        ]) {
          assert.deepStrictEqual(await cluster.request('primary', 'returns', key), expected, key);
        }
        await assert.rejects(cluster.request('primary', 'returns', 'fails'), { message: 'refused' });
      },
    );
  });

  test('the request rejects with whatever the handler throws', () =>
    handling(
      'throw',
      (what) => {
        if (what === 'error') throw Object.assign(new SyntaxError('bad'), { code: 'BAD', secret: 1 });
        if (what === 'getter') {
          throw Object.defineProperty(new Error(''), 'message', {
            get() {
              throw new Error('of the getter');
            },
          });
        }
        if (what === 'function') throw () => {};
        throw what;
      },
      async () => {
        await assert.rejects(cluster.request('primary', 'throw', 'error'), (error) => {
          assert(error instanceof Error && !('secret' in error));
          assert.deepStrictEqual([error.name, error.message, error.code], ['SyntaxError', 'bad', 'BAD']);
          return true;
        });
        await assert.rejects(cluster.request('primary', 'throw', 'getter'), { name: 'Error', message: '' });
        await assert.rejects(cluster.request('primary', 'throw', 'function'), /cannot be cloned/);
        for (const thrown of ['text', null, { an: 'object' }]) {
          const caught = await cluster.request('primary', 'throw', thrown).catch((error) => error);
          assert.deepStrictEqual(caught, thrown);
        }
      },
    ));

  test('a signal and a time limit end a request, and are no longer used when it has ended', () =>
    handling(
      'wait',
      (ms, { signal }) => (ms === 0 ? 'at once' : once(signal, 'abort')),
      async () => {
        const reason = new Error('the reason');
        const aborted = cluster.request('primary', 'wait', 1, { signal: AbortSignal.abort(reason) });
        await assert.rejects(aborted, reason);
        const controller = new AbortController();
        const later = cluster.request('primary', 'wait', 1, { signal: controller.signal });
        setImmediate(() => controller.abort(reason));
        await assert.rejects(later, reason);
        await rejected(cluster.request('primary', 'wait', 1, { timeout: 10 }), 'ERR_RCLUSTER_TIMEOUT');
        const options = { timeout: 2 ** 31 - 1, signal: new AbortController().signal };
        assert.strictEqual(await cluster.request('primary', 'wait', 0, options), 'at once');
        assert.strictEqual(await cluster.request('any', 'wait', 0, { timeout: Infinity }), 'at once');
      },
    ));

  test('requests to one process are answered in order', () =>
    handling(
      'order',
      (n) => n,
      async () => {
        const order = [];
        const all = Array.from({ length: 3000 }, async (_, n) => {
          order.push(await cluster.request('primary', 'order', n));
        });
        await Promise.all(all);
        assert.deepStrictEqual(
          order,
          Array.from({ length: 3000 }, (_, n) => n),
        );
      },
    ));

  test('more than 10,000 requests at a time are refused', () =>
    handling(
      'many',
      () => new Promise(() => {}),
      async () => {
        const controller = new AbortController();
        const all = Array.from({ length: 10_001 }, () =>
          cluster.request('primary', 'many', 0, { signal: controller.signal }).catch((error) => error.code),
        );
        assert.strictEqual(await Promise.race(all), 'ERR_RCLUSTER_REQUEST_LIMIT');
        controller.abort();
        await Promise.all(all);
      },
    ));

  test('invalid arguments are refused by name', async () => {
    const types = 'ERR_INVALID_ARG_TYPE';
    const values = 'ERR_INVALID_ARG_VALUE';
    const range = 'ERR_OUT_OF_RANGE';
    for (const [target, code] of [
      ['somebody', values],
      [undefined, types],
      [null, types],
      [true, types],
      [0, range],
      [1.5, range],
      [NaN, range],
      [2 ** 32, range],
      [{}, values],
      [{ slot: -1 }, range],
      [{ slot: '1' }, types],
      [{ slot: 1, leader: 'x' }, values],
      [{ leader: 5 }, types],
      [{ leader: 'x'.repeat(1025) }, values],
    ]) {
      await rejected(cluster.request(target, 'name'), code);
      assert.throws(() => cluster.notify(target, 'name'), { code });
    }
    for (const [name, code] of [
      [undefined, types],
      [5, types],
      ['\ud800', values],
      ['x'.repeat(1025), values],
    ]) {
      await rejected(cluster.request('any', name), code);
      assert.throws(() => cluster.notify('any', name), { code });
      assert.throws(() => cluster.handle(name, () => {}), { code });
    }
    for (const [options, code] of [
      [5, types],
      [{ timeout: '5' }, types],
      [{ timeout: 0 }, range],
      [{ timeout: -1 }, range],
      [{ timeout: NaN }, range],
      [{ timeout: 2 ** 31 }, range],
      [{ signal: {} }, types],
      [{ timeOut: 5 }, values],
    ]) {
      await rejected(cluster.request('any', 'name', 1, options), code);
    }
    assert.throws(() => cluster.handle('name', 5), { code: types });
    assert.throws(() => cluster.handle('name', () => {}, { onLag: 5 }), { code: types });
    assert.throws(() => cluster.handle('name', () => {}, { onlag() {} }), { code: values });
    assert.throws(() => new cluster.BroadcastChannel('x'.repeat(1025)), { code: values });
    const channel = new cluster.BroadcastChannel('large');
    assert.throws(() => channel.postMessage('x'.repeat(5 * 2 ** 20)), {
      code: 'ERR_RCLUSTER_MESSAGE_TOO_LARGE',
    });
    channel.close();
  });

  test('nothing is loaded and no thread is started before the first use', () => {
    const code = `
      const cluster = require(${JSON.stringify(OURS)});
      const loaded = () => Object.keys(require.cache).filter((file) => file.includes('/lib/exchange/'));
      const threads = () => require('fs').readdirSync('/proc/self/task')
        .filter((task) => require('fs').readFileSync('/proc/self/task/' + task + '/comm', 'utf8').includes('rcluster-store'));
      const before = [loaded().length, threads().length];
      const { handle, request, notify } = cluster;
      before.push(loaded().length);
      const handler = handle('x', () => 1);
      request('any', 'x').then((value) => console.log(JSON.stringify([before, value, threads().length])));
    `;
    const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', code], {
      cwd: path.join(__dirname, '..', '..'),
      encoding: 'utf8',
      timeout: 120_000,
    });
    // A handler does not keep the process alive.
    assert.deepStrictEqual([status, stderr], [0, '']);
    assert.deepStrictEqual(JSON.parse(stdout), [[0, 0, 0], 1, 1]);
  });
});
