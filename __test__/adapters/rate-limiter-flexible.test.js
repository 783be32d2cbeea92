'use strict';

// rcluster/rate-limiter-flexible: points that all workers share, with the real rate-limiter-flexible.

const assert = require('node:assert');
const path = require('node:path');
const { describe, test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');
const { loadAll, withProgram } = require('../helpers/programs.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const APP = path.join(__dirname, '..', 'fixtures', 'adapters', 'rate-limiter-flexible');

describe('points of rate-limiter-flexible', { skip }, () => {
  test('are exact over all workers, under load', () =>
    withProgram(APP, async (target, pids) => {
      const ask = async (url) => {
        const { status, body } = await get({ ...target, path: url });
        return { status, ...JSON.parse(body) };
      };
      await loadAll(pids, async (round) => {
        const answers = await Promise.all(
          Array.from({ length: 120 }, (_, number) => ask(`/consume?key=${number % 2},${round}`)),
        );
        const passed = answers.filter(({ status }) => status === 200);
        assert.strictEqual(passed.length, 100);
        assert.strictEqual(answers.filter(({ status }) => status === 429).length, 20);
        const rest = passed.map(({ result }) => result.remainingPoints).toSorted((one, two) => one - two);
        assert.deepStrictEqual(
          rest,
          [...Array(50).keys()].flatMap((points) => [points, points]),
        );
        return passed.map(({ pid }) => pid);
      });
      const { result } = await ask('/get?key=0,0');
      assert(result.msBeforeNext > 3_000_000, 'it is blocked for longer than a duration');
      assert.strictEqual(result.remainingPoints, 0);

      await Promise.all([
        ...Array.from({ length: 20 }, () => ask('/penalty?key=c&points=3')),
        ...Array.from({ length: 20 }, () => ask('/reward?key=c')),
      ]);
      assert.strictEqual((await ask('/get?key=c')).result.consumedPoints, 40);
    }));
});

describe('RateLimiterShared', { skip }, () => {
  const cluster = isBuiltin ? undefined : require(OURS);
  const flexible = isBuiltin ? undefined : require('rate-limiter-flexible');
  let count = 0;

  function open(options, storeOptions = { size: '1MB' }) {
    const { RateLimiterShared } = require('rcluster/rate-limiter-flexible');
    const store = cluster.shared(`points ${(count += 1)}`, storeOptions);
    return { store, limiter: new RateLimiterShared({ store, points: 2, duration: 600, ...options }) };
  }

  const rejection = (promise) =>
    promise.then(
      () => assert.fail('it was not rejected'),
      (reason) => reason,
    );

  test('takes numbers as keys, as the limiters of the library do, also without a prefix', async () => {
    for (const keyPrefix of ['', 'p']) {
      const { limiter } = open({ keyPrefix });
      await limiter.consume(5);
      assert.strictEqual((await limiter.get(5)).consumedPoints, 1);
      assert.strictEqual((await limiter.get('5')).consumedPoints, 1);
      assert.strictEqual((await limiter.block(5, 10)).consumedPoints, 3);
      assert.strictEqual(await limiter.delete(5), true);
      assert.strictEqual(await limiter.get(5), null);
    }
  });

  test('consumes points, and rejects with the state', async () => {
    const { limiter, store } = open({});
    const first = await limiter.consume('a');
    assert(first instanceof flexible.RateLimiterRes);
    assert.deepStrictEqual(
      [first.consumedPoints, first.remainingPoints, first.isFirstInDuration],
      [1, 1, true],
    );
    assert(first.msBeforeNext > 500_000);
    assert.strictEqual((await limiter.consume('a')).isFirstInDuration, false);
    const rejected = await rejection(limiter.consume('a'));
    assert(rejected instanceof flexible.RateLimiterRes);
    assert.deepStrictEqual([rejected.consumedPoints, rejected.remainingPoints], [3, 0]);
    assert(rejected.msBeforeNext > 500_000);
    assert.deepStrictEqual([...store.keys()], ['rlflx:a']);
    await limiter.consume('b', 2, { customDuration: 60 });
    assert((await limiter.get('b')).msBeforeNext <= 60_000);
    const once = await open({ duration: 0.001 }).limiter.consume('a');
    assert(once.msBeforeNext <= 1);
  });

  test('gets, sets, blocks, punishes, rewards and deletes', async () => {
    const { limiter } = open({});
    assert.strictEqual(await limiter.get('a'), null);
    assert.strictEqual(await limiter.delete('a'), false);
    const { consumedPoints, msBeforeNext } = await limiter.set('a', 1, 60);
    assert.deepStrictEqual([consumedPoints, msBeforeNext], [1, 60_000]);
    assert.strictEqual((await limiter.penalty('a')).consumedPoints, 2);
    assert.strictEqual((await limiter.reward('a', 2)).consumedPoints, 0);
    assert.strictEqual((await limiter.get('a')).remainingPoints, 2);
    assert.strictEqual((await limiter.block('a', 3600)).msBeforeNext, 3_600_000);
    const blocked = await rejection(limiter.consume('a'));
    assert(blocked.msBeforeNext > 3_000_000);
    assert.strictEqual(await limiter.delete('a'), true);
    assert.strictEqual((await limiter.consume('a')).consumedPoints, 1);
    await limiter.block('ever', 0);
    assert.strictEqual((await limiter.get('ever')).msBeforeNext, -1);
    assert.strictEqual((await rejection(limiter.consume('ever'))).msBeforeNext, -1);
    const { limiter: endless } = open({ duration: 0 });
    assert.strictEqual((await endless.consume('a')).msBeforeNext, -1);
    assert.strictEqual((await endless.get('a')).msBeforeNext, -1);
  });

  test('starts over when the duration has ended, and blocks for the given time', async () => {
    const { limiter, store } = open({ duration: 0.001 });
    await limiter.consume('a');
    await until('it has ended', () => !store.has('rlflx:a'));
    assert.strictEqual((await limiter.consume('a')).consumedPoints, 1);
    const { limiter: blocking } = open({ blockDuration: 3600 });
    await blocking.consume('a', 2);
    assert.strictEqual((await rejection(blocking.consume('a'))).msBeforeNext, 3_600_000);
    const next = await rejection(blocking.consume('a'));
    assert(next.msBeforeNext > 3_000_000 && next.msBeforeNext <= 3_600_000);
  });

  test('executes evenly', async (t) => {
    const { limiter } = open({ points: 4, execEvenly: true });
    await limiter.consume('a');
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const done = [];
    void limiter.consume('a').then((result) => done.push(result));
    // Its timer starts when the store has answered, which is not visible from outside.
    let waited = 0;
    while (done.length === 0) {
      t.mock.timers.tick(1000);
      waited += 1000;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert(waited > 100_000, `${waited} ms`);
    assert(done[0].msBeforeNext < 500_000, 'what it has waited is counted');
  });

  test('is insured against a full store', async () => {
    const insurance = new flexible.RateLimiterMemory({ points: 1, duration: 600 });
    const { limiter, store } = open({ insuranceLimiter: insurance });
    const { limiter: uninsured } = open({});
    await limiter.consume('a');
    const refused = Object.assign(new Error('full'), { code: 'ERR_RCLUSTER_FULL' });
    for (const one of [limiter, uninsured]) assert(one instanceof flexible.RateLimiterMemory === false);
    const filled = await fill(store);
    assert.strictEqual(filled.code, refused.code);
    // New keys need room, and the insurance limiter has points of its own.
    const keys = Array.from({ length: 300 }, (_, number) => `${'k'.repeat(900)}${number}`);
    const insured = await Promise.all(keys.map((key) => limiter.consume(key)));
    assert(
      insured.some(({ remainingPoints }) => remainingPoints === 0),
      'the insurance has counted',
    );
  });

  /** Writes until the store is full. */
  async function fill(store) {
    for (let number = 0; ; number++) {
      try {
        await store.set(`fill ${number}`, 'x'.repeat(1000));
      } catch (error) {
        return error;
      }
    }
  }

  test('works with limiters that wrap others', async () => {
    const { limiter } = open({ points: 3 });
    const { limiter: burst } = open({ points: 2, duration: 60, keyPrefix: 'burst' });
    const bursty = new flexible.BurstyRateLimiter(limiter, burst);
    const passed = await Promise.allSettled(Array.from({ length: 7 }, () => bursty.consume('a')));
    assert.strictEqual(passed.filter(({ status }) => status === 'fulfilled').length, 5);
    const union = new flexible.RateLimiterUnion(
      open({ keyPrefix: 'one' }).limiter,
      open({ keyPrefix: 'two' }).limiter,
    );
    assert.deepStrictEqual(Object.keys(await union.consume('a')), ['one', 'two']);
  });

  test('refuses unknown options', () => {
    const { RateLimiterShared } = require('rcluster/rate-limiter-flexible');
    const options = { points: 1, duration: 1 };
    assert.throws(
      () => new RateLimiterShared({ ...options, blockDurration: 1 }),
      /Did you mean "blockDuration"\?/,
    );
    assert.throws(() => new RateLimiterShared({ ...options, store: {} }), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => new RateLimiterShared({ points: 1 }), /duration must be set/);
  });
});
