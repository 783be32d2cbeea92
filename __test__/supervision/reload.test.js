'use strict';

// A reload starts new code with a new environment, and no request fails.

const assert = require('node:assert');
const fs = require('node:fs');
const { test } = require('node:test');
const { withSupervised } = require('../../testing/supervised.js');
const { HttpLoad } = require('../../testing/http-load.js');
const { until } = require('../../testing/processes.js');

/** @param {import('../../testing/supervised.js').Supervised} app */
async function generations(app, count) {
  const seen = new Map();
  await until('every worker has answered', async () => {
    const { slot, generation } = await app.who();
    return seen.set(slot, generation).size === count;
  });
  return [...seen.values()];
}

test('under load, no request fails during repeated reloads', (t) =>
  withSupervised({ workers: 3 }, async (app) => {
    const load = new HttpLoad(app.target, { rate: 200 });
    for (let generation = 1; generation <= 2; generation++) {
      app.tell('environment', { GENERATION: String(generation) });
      app.tell('reload', generation === 2 ? { concurrency: 2 } : undefined);
      await app.marker('done');
      const { phase } = await app.marker('reload');
      assert.strictEqual(phase, 'start');
      assert.strictEqual((await app.marker('reload')).phase, 'done');
    }
    await load.answers(50);
    assert.deepStrictEqual(await load.stop(), {});
    t.diagnostic(`${load.answered} requests`);
    assert.deepStrictEqual(await generations(app, 3), Array(3).fill('2'));
    // The old ones have drained, and ended by themselves.
    for (let count = 0; count < 6; count++) {
      const { code, exitedAfterDisconnect } = await app.marker('exit');
      assert.deepStrictEqual([code, exitedAfterDisconnect], [0, true]);
    }
  }));

test('code that crashes stops the reload, and the old workers stay', () =>
  withSupervised({ workers: 2 }, async (app) => {
    const fate = app.inDirectory('fate');
    fs.writeFileSync(fate, 'crash');
    app.tell('environment', { FATE: fate, GENERATION: 'bad' });
    const load = new HttpLoad(app.target, { rate: 50 });
    app.tell('reload');
    const { code, message } = await app.marker('failed');
    assert.strictEqual(code, 'ERR_RCLUSTER_NOT_READY');
    assert.match(message, /slot 0/);
    await load.answers(20);
    assert.deepStrictEqual(await load.stop(), {});
    const pids = new Set();
    await until('both answer', async () => pids.add((await app.who()).pid).size === 2);
    assert.deepStrictEqual(pids, new Set(app.workers.map(({ pid }) => pid)));
    // Once the code is fixed, the reload succeeds.
    fs.writeFileSync(fate, 'listen');
    app.tell('environment', { GENERATION: 'good' });
    app.tell('reload');
    await app.marker('done');
    assert.deepStrictEqual(await generations(app, 2), ['good', 'good']);
  }));

test('a reload with code that never listens fails after a time limit', () =>
  withSupervised({ workers: 1, readyTimeout: 4000 }, async (app) => {
    app.tell('environment', { FATE: require.resolve('../../testing/apps/fates/never-listen') });
    app.tell('reload');
    assert.strictEqual((await app.marker('failed')).code, 'ERR_RCLUSTER_NOT_READY');
    assert.strictEqual((await app.who()).pid, app.workers[0].pid);
  }));

test('a second reload joins the running one', () =>
  withSupervised({ workers: 2 }, async (app) => {
    app.tell('reload');
    app.tell('reload');
    await app.marker('done');
    await app.marker('done');
    app.tell('stats');
    const { slots } = await app.marker('stats');
    // Two at the beginning, and two by the single reload.
    assert.deepStrictEqual(
      slots.map(({ worker }) => worker),
      [3, 4],
    );
  }));

test('a reload continues with the environment that it began with', () =>
  withSupervised({ workers: 2 }, async (app) => {
    app.tell('environment', { GENERATION: 'first' });
    app.tell('reload');
    app.tell('environment', { GENERATION: 'second' });
    app.tell('reload');
    await app.marker('done');
    await app.marker('done');
    assert.deepStrictEqual(await generations(app, 2), ['first', 'first']);
    app.tell('reload');
    await app.marker('done');
    await until('the third reload is seen', async () => (await app.who()).generation === 'second');
    assert.deepStrictEqual(await generations(app, 2), ['second', 'second']);
  }));

test('a reload waits for a worker that reports when it is ready', () =>
  withSupervised(
    { workers: 1, ready: 'explicit' },
    async (app) => {
      const { worker } = await app.marker('spawn');
      await app.marker('listening');
      app.tell('stats');
      assert.strictEqual((await app.marker('stats')).ready, 0);
      app.tell('say ready', worker);
      assert.strictEqual((await app.marker('ready')).worker, worker);
    },
    { listen: false },
  ));

test('scale() adds and removes workers', () =>
  withSupervised({ workers: 1 }, async (app) => {
    app.tell('scale', 3);
    await app.marker('done');
    app.tell('stats');
    assert.deepStrictEqual((await app.marker('stats')).ready, 3);
    app.tell('scale', 1);
    await app.marker('done');
    const gone = [await app.marker('exit'), await app.marker('exit')];
    assert.deepStrictEqual(new Set(gone.map(({ slot, code }) => `${slot} ${code}`)), new Set(['1 0', '2 0']));
    assert.strictEqual((await app.who()).pid, app.workers[0].pid);
  }));
