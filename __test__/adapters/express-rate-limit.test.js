'use strict';

// rcluster/express-rate-limit: limits that hold for all workers together, with the real express-rate-limit.

const assert = require('node:assert');
const path = require('node:path');
const { describe, test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');
const { loadAll, withProgram } = require('../helpers/programs.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const APP = path.join(__dirname, '..', 'fixtures', 'adapters', 'express-rate-limit');
const LIMIT = 50;

describe('limits of express-rate-limit', { skip }, () => {
  test('are exact over all workers, under load', () =>
    withProgram(APP, async (target, pids) => {
      const ask = (url) => get({ ...target, path: url });
      await loadAll(pids, async (round) => {
        const answers = await Promise.all(
          Array.from({ length: 3 * LIMIT }, (_, number) => ask(`/limited?who=${number % 2},${round}`)),
        );
        const passed = answers.filter(({ status }) => status === 200).map(({ body }) => JSON.parse(body));
        assert.strictEqual(answers.filter(({ status }) => status === 429).length, LIMIT);
        const used = passed.map(({ key, used: count }) => `${key} ${count}`);
        assert.strictEqual(new Set(used).size, 2 * LIMIT, 'no count was given twice');
        assert(passed.every(({ resetTime }) => new Date(resetTime) > new Date()));
        for (const { headers } of answers) {
          assert.strictEqual(headers['ratelimit-limit'], String(LIMIT));
          assert(Number(headers['ratelimit-reset']) > 500, 'they say when the window ends');
        }
        return passed.map(({ pid }) => pid);
      });
      assert.strictEqual(JSON.parse((await ask('/count?who=0,0')).body).totalHits, 75);
      await ask('/reset?who=0,0');
      assert.strictEqual((await ask('/limited?who=0,0')).status, 200);
      assert.strictEqual((await ask('/limited?who=1,0')).status, 429);
    }));

  test('leave out decrements, under load', () =>
    withProgram(APP, async (target) => {
      const ask = (status) => get({ ...target, path: `/failures?who=a&status=${status}` });
      for (let round = 0; round < 4; round++) {
        await Promise.all(Array.from({ length: LIMIT / 2 }, () => ask(200)));
        // A count is decremented after the answer has been sent.
        await until('all successes are taken back', async () => {
          const { headers } = await ask(200);
          return headers['ratelimit-remaining'] === String(LIMIT - 1);
        });
      }
      const failed = await Promise.all(Array.from({ length: LIMIT + 5 }, () => ask(500)));
      assert.strictEqual(failed.filter(({ status }) => status === 500).length, LIMIT);
    }));
});

describe('the store of express-rate-limit', { skip }, () => {
  const cluster = isBuiltin ? undefined : require(OURS);
  let count = 0;

  function open(windowMs = 600_000) {
    const { RateLimitStore } = require('rcluster/express-rate-limit');
    const shared = cluster.shared(`limits ${(count += 1)}`, { size: '1MB' });
    const store = new RateLimitStore({ store: shared });
    store.init({ windowMs });
    return { shared, store };
  }

  test('counts in a window that the first hit begins', async () => {
    const { store, shared } = open();
    assert.strictEqual(await store.get('a'), undefined);
    const first = await store.increment('a');
    const second = await store.increment('a');
    assert.deepStrictEqual([first.totalHits, second.totalHits], [1, 2]);
    // The clock is read again each time.
    assert(Math.abs(first.resetTime.getTime() - second.resetTime.getTime()) < 10_000);
    assert(first.resetTime.getTime() - Date.now() > 500_000);
    assert.strictEqual((await store.get('a')).totalHits, 2);
    assert.deepStrictEqual([...shared.keys()], ['rl:a']);
    await store.resetKey('a');
    assert.strictEqual(await store.get('a'), undefined);
    await store.increment('b');
    await shared.set('other', 1);
    await store.resetAll();
    assert.deepStrictEqual([...shared.keys()], ['other']);
    assert.strictEqual(store.localKeys, false);
    assert.strictEqual(store.prefix, 'rl:');
  });

  test('begins a new window when one has ended', async () => {
    const { store, shared } = open(1);
    await store.increment('a');
    await until('it has ended', () => !shared.has('rl:a'));
    assert.strictEqual((await store.increment('a')).totalHits, 1);
  });

  test('decrements counts, but not below zero, and keeps the end of the window', async () => {
    const { store, shared } = open();
    await store.decrement('a');
    assert.strictEqual(shared.size, 0);
    await store.increment('a');
    await Promise.all(Array.from({ length: 3 }, () => store.decrement('a')));
    assert.strictEqual(shared.get('rl:a'), 0);
    assert.notStrictEqual(shared.entry('rl:a').expiresAt, undefined);
    await Promise.all(Array.from({ length: 30 }, () => store.increment('a')));
    await Promise.all(Array.from({ length: 20 }, () => store.decrement('a')));
    assert.strictEqual(shared.get('rl:a'), 10);
  });

  test('refuses unsupported options', async () => {
    const { RateLimitStore } = require('rcluster/express-rate-limit');
    assert.throws(() => new RateLimitStore({ prefx: '' }), /Did you mean "prefix"\?/);
    assert.throws(() => new RateLimitStore({ store: {} }), { code: 'ERR_INVALID_ARG_TYPE' });
    await assert.rejects(new RateLimitStore().increment('a'), { code: 'ERR_INVALID_STATE' });
  });
});
