'use strict';

// rcluster/fastify-rate-limit: limits that hold for all workers together, with the real @fastify/rate-limit.

const assert = require('node:assert');
const path = require('node:path');
const { describe, test } = require('node:test');
const { promisify } = require('node:util');
const { get } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');
const { loadAll, withProgram } = require('../helpers/programs.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const APP = path.join(__dirname, '..', 'fixtures', 'adapters', 'fastify-rate-limit');

describe('limits of @fastify/rate-limit', { skip }, () => {
  test('are exact over all workers, for the app, a route, and a limit of its own, under load', () =>
    withProgram(APP, async (target, pids) => {
      const ask = (url) => get({ ...target, path: url });
      const many = (length, url) => Promise.all(Array.from({ length }, () => ask(url)));
      const passed = (answers) => answers.filter(({ status }) => status === 200);
      await loadAll(pids, async (round) => {
        const [all, other, route, free] = await Promise.all([
          many(80, `/?who=a${round}`),
          many(20, `/?who=b${round}`),
          many(30, `/route?who=a${round}`),
          many(60, `/free?who=a${round}`),
        ]);
        assert.deepStrictEqual(
          [all, other, route, free].map((answers) => passed(answers).length),
          [50, 20, 10, 60],
        );
        const rest = passed(all).map(({ headers }) => Number(headers['x-ratelimit-remaining']));
        assert.deepStrictEqual(
          rest.toSorted((one, two) => one - two),
          [...Array(50).keys()],
        );
        assert(all.every(({ headers }) => Number(headers['x-ratelimit-reset']) > 500));
        return passed(all).map(({ body }) => JSON.parse(body).pid);
      });

      const own = (await many(8, '/own?who=a')).map(({ body }) => JSON.parse(body));
      assert.deepStrictEqual(own.map(({ remaining }) => remaining).toSorted(), [0, 0, 0, 0, 1, 2, 3, 4]);
      assert.strictEqual(own.filter(({ isExceeded }) => isExceeded).length, 3);
      for (let count = 0; count < 4; count++) {
        const { isExceeded, remaining } = JSON.parse((await ask('/peek?who=a')).body);
        assert.deepStrictEqual({ isExceeded, remaining }, { isExceeded: true, remaining: 0 });
      }
      assert.strictEqual(JSON.parse((await ask('/peek?who=c')).body).remaining, 5);
    }));
});

describe('the store of @fastify/rate-limit', { skip }, () => {
  const cluster = isBuiltin ? undefined : require(OURS);
  let count = 0;

  function open(params) {
    const { RateLimitStore } = require('rcluster/fastify-rate-limit');
    const shared = cluster.shared(`limits ${(count += 1)}`, { size: '1MB' });
    const store = new (RateLimitStore.with({ store: shared, prefix: 'p-' }))(params);
    return { shared, store, ...asked(store) };
  }

  const asked = (store) => ({
    incr: (key, timeWindow, max) => promisify((done) => store.incr(key, done, timeWindow, max))(),
    read: (key) => promisify((done) => store.read(key, done))(),
  });

  test('counts in a window that the first request begins', async () => {
    const { incr, read, shared } = open({});
    assert.deepStrictEqual(await read('a'), { current: 0, ttl: 0 });
    const first = await incr('a', 600_000, 1);
    const second = await incr('a', 60_000, 1);
    assert.deepStrictEqual([first.current, second.current], [1, 2]);
    assert(second.ttl > 500_000, 'the window is that of the first one');
    assert.strictEqual((await read('a')).current, 2);
    assert.deepStrictEqual([...shared.keys()], ['p-a']);
    await incr('b', 1, 1);
    await until('it has ended', () => !shared.has('p-b'));
    assert.strictEqual((await incr('b', 60_000, 1)).current, 1);
    assert.deepStrictEqual(await incr('c', 0, 1), { current: 1, ttl: 0 });
    assert.deepStrictEqual(await incr('c', 0, 1), { current: 1, ttl: 0 });
    // More ms than a store accepts: the plugin allows '285421 years'.
    assert.strictEqual((await incr('d', 2 ** 53, 1)).current, 1);
    assert.strictEqual((await open({ continueExceeding: true }).incr('d', Infinity, 0)).current, 1);
  });

  test('extends the window of clients that exceed the limit, if configured', async () => {
    const continued = open({ continueExceeding: true });
    await continued.incr('a', 60_000, 1);
    assert.deepStrictEqual(await continued.incr('a', 600_000, 1), { current: 2, ttl: 600_000 });
    assert((await continued.read('a')).ttl > 500_000);

    const backing = open({ exponentialBackoff: true });
    await backing.incr('a', 60_000, 1);
    const ttls = [];
    for (let count = 0; count < 4; count++) ttls.push((await backing.incr('a', 60_000, 1)).ttl);
    assert.deepStrictEqual(ttls, [60_000, 120_000, 240_000, 480_000]);
    assert((await backing.read('a')).ttl > 400_000);
    await Promise.all(Array.from({ length: 3 }, () => backing.incr('a', 60_000, 1)));
    const { current, ttl } = await backing.read('a');
    assert.strictEqual(current, 8);
    assert(ttl > 3_500_000, 'the last one has prolonged it most');
    const last = await backing.incr('a', 2 ** 50, 1);
    assert.strictEqual(last.ttl, Number.MAX_SAFE_INTEGER);
  });

  test('counts separately for each route', async () => {
    const { store, shared } = open({});
    const [one, two] = ['/a', '/b'].map((url) => store.child({ routeInfo: { method: 'GET', url } }));
    const [three, four] = [0, 1].map(() => store.child({ routeInfo: {} }));
    for (const child of [one, two, three, four]) {
      assert.strictEqual((await asked(child).incr('k', 60_000, 1)).current, 1);
    }
    const again = store.child({ routeInfo: { method: 'GET', url: '/a' } });
    assert.strictEqual((await asked(again).incr('k', 60_000, 1)).current, 2);
    assert.deepStrictEqual([...shared.keys()], ['p-#1-k', 'p-#2-k', 'p-GET/a-k', 'p-GET/b-k']);
  });

  test('reports errors, and refuses unsupported options', async () => {
    const { RateLimitStore } = require('rcluster/fastify-rate-limit');
    const { incr, shared } = open({});
    await shared.set('p-a', 'text');
    await assert.rejects(incr('a', 60_000, 1), { code: 'ERR_RCLUSTER_NOT_NUMBER' });
    assert.throws(() => RateLimitStore.with({ prefixx: '' }), /Did you mean "prefix"\?/);
    assert.throws(() => RateLimitStore.with({ store: null }), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});
