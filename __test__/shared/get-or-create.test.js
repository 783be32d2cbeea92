'use strict';

// getOrCreate(): one process creates a value for all that wait, and another one takes over when it dies.

const assert = require('node:assert');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { until } = require('../../testing/processes.js');
const { runProgram } = require('../../testing/run-program.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const cluster = isBuiltin ? undefined : require(OURS);

/** How often the process that creates the value is killed. */
const KILLS = 100;
/** The number of workers that wait meanwhile. */
const WAITING = 6;

let names = 0;
const open = (options) => cluster.shared(`made ${(names += 1)}`, options);

describe('getOrCreate() in one process', { skip }, () => {
  test('computes a missing value once, and each caller gets a copy', async () => {
    const store = open();
    let calls = 0;
    const load = async ({ signal }) => {
      assert.strictEqual(signal.aborted, false);
      calls += 1;
      await cluster.locks.query();
      return { calls };
    };
    const values = await Promise.all(Array.from({ length: 20 }, () => store.getOrCreate('key', load)));
    assert.deepStrictEqual(
      values,
      values.map(() => ({ calls: 1 })),
    );
    assert.strictEqual(new Set(values).size, 20);
    assert.deepStrictEqual(store.get('key'), { calls: 1 });
    assert.deepStrictEqual(await store.getOrCreate('key', load), { calls: 1 });
    await store.delete('key');
    assert.deepStrictEqual(await store.getOrCreate('key', load, { ttl: 60_000 }), { calls: 2 });
    assert(store.entry('key').expiresAt > 0);
  });

  test('a value that is written while the loader runs stays, and a stale one that is deleted stays deleted', async () => {
    const store = open();
    const loading = (change) => async () => {
      await change();
      return 'loaded';
    };
    const write = loading(() => store.set('key', 'written'));
    const both = await Promise.all([store.getOrCreate('key', write), store.getOrCreate('key', assert.fail)]);
    assert.deepStrictEqual([...both, store.get('key')], ['written', 'written', 'written']);

    const ms = 600_000;
    const stale = async () => {
      await store.getOrCreate('stale', () => 'old', { ttl: 1, grace: ms });
      const { expiresAt } = store.entry('stale');
      while (Date.now() <= expiresAt - ms);
    };
    await stale();
    let done;
    const over = new Promise((resolve) => (done = resolve));
    const remove = loading(async () => {
      await store.delete('stale');
      done();
    });
    assert.strictEqual(await store.getOrCreate('stale', remove, { ttl: 1, grace: ms }), 'old');
    await over;
    // Waits for the loader that runs.
    assert.strictEqual(await store.getOrCreate('stale', assert.fail, { ttl: 1, grace: ms }), 'loaded');
    assert.strictEqual(store.get('stale'), undefined);

    // One that expires has not been deleted.
    await store.set('late', 'old', { ttl: 30 });
    const outlast = async () => {
      while (store.has('late')) await new Promise(setImmediate);
      return 'new';
    };
    void store.getOrCreate('late', outlast, { ttl: ms, grace: ms });
    await until('it is stored', () => store.get('late') === 'new');
  });

  test('a caller can end its wait, and the others get the value', async () => {
    const store = open();
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error('no longer wanted');
    let finish;
    const load = ({ signal: lost }) =>
      new Promise((resolve) => {
        finish = () => resolve(`made ${lost.aborted}`);
      });
    const first = store.getOrCreate('key', load, { signal });
    const second = store.getOrCreate('key', assert.fail, { signal: new AbortController().signal });
    await cluster.locks.query();
    controller.abort(reason);
    await assert.rejects(first, reason);
    await assert.rejects(store.getOrCreate('key', assert.fail, { signal }), reason);
    finish();
    assert.strictEqual(await second, 'made false');
    assert.strictEqual(store.get('key'), 'made false');
    await assert.rejects(store.getOrCreate('key', assert.fail, { signal: {} }), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  });

  test('a loader goes on when no caller waits any more', async () => {
    const store = open();
    const controller = new AbortController();
    let finish;
    const load = () => new Promise((resolve) => (finish = resolve));
    const first = store.getOrCreate('key', load, { signal: controller.signal });
    await cluster.locks.query();
    controller.abort();
    await assert.rejects(first, { name: 'AbortError' });
    const second = store.getOrCreate('key', assert.fail);
    finish('made');
    assert.strictEqual(await second, 'made');
  });

  test('an error that cannot be described rejects too, and the next call computes the value', async () => {
    const store = open();
    const thrown = {
      getter: Object.defineProperty(new Error(), 'message', { get: () => assert.fail('a getter') }),
      symbol: Object.assign(new Error(), { name: Symbol('a name') }),
      inspected: { [Symbol.for('nodejs.util.inspect.custom')]: () => assert.fail('an inspection') },
    };
    for (const [key, error] of Object.entries(thrown)) {
      const fail = () => {
        throw error;
      };
      await assert.rejects(store.getOrCreate(key, fail), (rejected) => rejected === error);
      assert.strictEqual(await store.getOrCreate(key, () => 'made'), 'made');
    }
  });

  test('a loader may change what it has returned', async () => {
    const store = open();
    const value = { a: 1 };
    const { set } = store;
    store.set = (...args) => {
      const written = set.apply(store, args);
      Object.assign(value, { a: 2, callback() {} });
      return written;
    };
    const made = store.getOrCreate('key', () => value);
    const other = store.getOrCreate('key', assert.fail);
    assert.deepStrictEqual([await made, await other, store.get('key')], [{ a: 1 }, { a: 1 }, { a: 1 }]);
    await store.delete('key');
    assert.strictEqual(await store.getOrCreate('key', () => 'made'), 'made');
  });

  test('returns every kind of value', async () => {
    const store = open();
    for (const value of [
      'text',
      5,
      NaN,
      true,
      null,
      Buffer.from('b'),
      new Map([[1, 2]]),
      { a: 'x'.repeat(9000) },
    ]) {
      await store.clear();
      const [first, second] = await Promise.all([0, 1].map(() => store.getOrCreate('key', () => value)));
      assert.deepStrictEqual([first, second, store.get('key')], [value, value, value]);
    }
  });

  test('rejects with the error of the loader, and calls it again', async () => {
    const store = open();
    const error = Object.assign(new Error('no value'), { code: 'NO_VALUE' });
    let calls = 0;
    const fail = async () => {
      calls += 1;
      await cluster.locks.query();
      throw error;
    };
    const results = await Promise.allSettled([0, 1, 2].map(() => store.getOrCreate('key', fail)));
    assert(results.every(({ reason }) => reason === error));
    assert.strictEqual(calls, 1);
    await assert.rejects(store.getOrCreate('key', fail), error);
    assert.strictEqual(calls, 2);
    await assert.rejects(
      store.getOrCreate('key', () => undefined),
      { code: 'ERR_INVALID_ARG_VALUE' },
    );
    assert.strictEqual(await store.getOrCreate('key', () => 'made'), 'made');
  });

  test('keeps a failure for negativeTtl', async () => {
    const store = open();
    let calls = 0;
    const fail = () => {
      calls += 1;
      throw Object.assign(new TypeError('no value'), { code: 'NO_VALUE' });
    };
    const kept = { negativeTtl: 60_000 };
    for (let i = 0; i < 3; i++) {
      const told = { name: 'TypeError', message: 'no value', code: 'NO_VALUE' };
      await assert.rejects(store.getOrCreate('key', fail, kept), told);
    }
    assert.strictEqual(calls, 1);
    assert.deepStrictEqual([...store.keys()], [], 'it is no value of the store');
    await assert.rejects(store.getOrCreate('key', fail), { code: 'NO_VALUE' });
    assert.strictEqual(calls, 2, 'who does not want kept failures tries');
    await store.set('key', 'set by another');
    assert.strictEqual(await store.getOrCreate('key', fail, kept), 'set by another');
    await assert.rejects(store.getOrCreate('short', fail, { negativeTtl: 1 }), { code: 'NO_VALUE' });
    const again = () => 'made';
    let made;
    while (made === undefined) {
      made = await store.getOrCreate('short', again, { negativeTtl: 1 }).catch(({ code }) => {
        assert.strictEqual(code, 'NO_VALUE');
      });
    }
    assert.strictEqual(made, 'made');
  });

  test('returns the stale value while a new one is created', async () => {
    const store = open();
    let calls = 0;
    const options = { ttl: 1, grace: 600_000 };
    const made = [];
    const load = () => {
      calls += 1;
      const value = calls;
      made.push(value);
      return value;
    };
    assert.strictEqual(await store.getOrCreate('key', load, options), 1);
    let value = 1;
    while (value === 1) {
      value = await store.getOrCreate('key', load, options);
      await cluster.locks.query();
    }
    assert(value > 1 && made.includes(value));
  });

  test('refuses calls that would wait for themselves, and invalid arguments', async () => {
    const store = open();
    await assert.rejects(
      store.getOrCreate('key', () => store.getOrCreate('key', () => 1)),
      { code: 'ERR_RCLUSTER_LOCK_DEADLOCK' },
    );
    assert.strictEqual(await store.getOrCreate('a', () => store.getOrCreate('b', () => 1)), 1);
    for (const [key, loader, options, code] of [
      [5, () => 1, {}, 'ERR_INVALID_ARG_TYPE'],
      ['k'.repeat(1025), () => 1, {}, 'ERR_RCLUSTER_TOO_LARGE'],
      ['key', 1, {}, 'ERR_INVALID_ARG_TYPE'],
      ['key', () => 1, { ttl: 0 }, 'ERR_OUT_OF_RANGE'],
      ['key', () => 1, { grace: 5 }, 'ERR_INVALID_ARG_VALUE'],
      ['key', () => 1, { negativeTtl: -1 }, 'ERR_OUT_OF_RANGE'],
      ['key', () => 1, { negativTtl: 1 }, 'ERR_INVALID_ARG_VALUE'],
    ]) {
      await assert.rejects(store.getOrCreate(key, loader, options), { code }, JSON.stringify(options));
    }
    assert.strictEqual(store.has('key'), false);
  });
});

describe('getOrCreate() among workers', { skip }, () => {
  const start = async (fixture, how, count) => {
    const workers = [];
    for (let i = 0; i < count; i++) {
      const worker = await fixture.marker('online');
      workers.push(worker);
      fixture.tell('make', { id: worker.id, of: ['key', how] });
      await fixture.marker(`done ${worker.id}`);
      if (i === 0) await fixture.marker(`makes key ${worker.id}`);
    }
    return workers;
  };

  test('one creates the value, and all that wait receive it', () =>
    withFixture('locks.js', { env: { COUNT: '4' } }, async (fixture) => {
      const workers = await start(fixture, 'waits', 4);
      fixture.tell('release', { id: workers[0].id, of: 'key' });
      for (const { id } of workers) {
        assert.deepStrictEqual(await fixture.marker(`made key ${id}`), { value: { by: workers[0].pid } });
      }
      assert(!fixture.marks.some(({ mark }) => mark.startsWith('makes')), 'nobody else has made one');
    }));

  test('one that no longer waits does not create it when the first is killed', () =>
    withFixture('locks.js', { env: { COUNT: '3' } }, async (fixture) => {
      const [first, second, third] = await start(fixture, 'waits', 3);
      fixture.tell('release', { id: second.id, of: 'wait for key' });
      assert.strictEqual((await fixture.marker(`made key ${second.id}`)).error.name, 'AbortError');
      await fixture.marker(`done ${second.id}`);
      // Its request has ended when a later one is answered.
      fixture.tell('query', { id: second.id, of: null });
      await fixture.marker(`done ${second.id}`);
      process.kill(first.pid, 'SIGKILL');
      await fixture.marker(`makes key ${third.id}`);
      assert(!fixture.marks.some(({ mark }) => mark.startsWith('makes')), 'nobody else makes one');
      fixture.tell('release', { id: third.id, of: 'key' });
      assert.deepStrictEqual(await fixture.marker(`made key ${third.id}`), { value: { by: third.pid } });
    }));

  test('a failure rejects all that wait', () =>
    withFixture('locks.js', { env: { COUNT: '3' } }, async (fixture) => {
      const workers = await start(fixture, 'throw', 3);
      // Their requests are queued behind the process that creates the value: this request comes later.
      for (const { id } of workers) {
        fixture.tell('query', { id, of: null });
        await fixture.marker(`done ${id}`);
      }
      fixture.tell('release', { id: workers[0].id, of: 'key' });
      for (const { id } of workers) {
        const { error } = await fixture.marker(`made key ${id}`);
        assert.deepStrictEqual(error, { name: 'TypeError', message: 'no value', code: 'NO_VALUE' });
      }
      assert(!fixture.marks.some(({ mark }) => mark.startsWith('makes')), 'nobody has tried again');
    }));

  test(`the next one creates it when the first is killed, ${KILLS} times`, (context) =>
    withFixture('locks.js', { env: { COUNT: `${WAITING}` }, deadline: 300_000 }, async (fixture) => {
      const line = [];
      const join = async () => {
        const { id, pid } = await fixture.marker('online');
        fixture.tell('make', { id, of: ['key', 'waits'] });
        await fixture.marker(`done ${id}`);
        line.push({ id, pid });
        fixture.tell('query', { id, of: null });
        await fixture.marker(`done ${id}`);
      };
      for (let i = 0; i < WAITING; i++) await join();
      await fixture.marker(`makes key ${line[0].id}`);
      const times = [];
      for (let round = 0; round < KILLS; round++) {
        const { pid } = line.shift();
        const killed = Number(process.hrtime.bigint() / 1000n);
        process.kill(pid, 'SIGKILL');
        const { at } = await fixture.marker(`makes key ${line[0].id}`);
        times.push(at - killed);
        fixture.tell('fork', {});
        await join();
      }
      fixture.tell('release', { id: line[0].id, of: 'key' });
      for (const { id } of line) {
        assert.deepStrictEqual(await fixture.marker(`made key ${id}`), { value: { by: line[0].pid } });
      }
      times.sort((a, b) => a - b);
      const [median, max] = [times[times.length >> 1], times.at(-1)];
      context.diagnostic(`next loader after SIGKILL: p50 ${median} µs, max ${max} µs of ${times.length}`);
    }));
});

test('a refresh that ends with the drain of its worker is no failure', { skip }, async () => {
  const program = `
    const cluster = require(${JSON.stringify(OURS)});
    if (cluster.isPrimary) {
      cluster.fork().on('message', () => cluster.disconnect());
    } else {
      const store = cluster.shared('store');
      const get = (loader) => store.getOrCreate('key', loader, { ttl: 1, grace: 600_000 });
      process.on('warning', ({ code }) => console.log(code));
      (async () => {
        await get(() => 'old');
        const stale = store.entry('key').expiresAt - 600_000;
        while (Date.now() <= stale);
        console.log(await get(({ signal }) => new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            console.log(signal.reason.code);
            reject(signal.reason);
          });
          process.send('refreshing');
        })));
      })();
    }`;
  const { stdout } = await runProgram(program);
  assert.deepStrictEqual(stdout.trim().split('\n'), ['old', 'ERR_RCLUSTER_GONE']);
});
