'use strict';

// Without the native part, too, a worker that retires is replaced by the rules for restarts.

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';

const SCRIPT = require.resolve('../fixtures/supervision/leaving.js');

/** @param {import('../../testing/supervised.js').Supervised} app @param {string} name */
function countOf({ marks }, name) {
  return marks.filter(({ mark }) => mark === name).length;
}

test('a worker that retires is not replaced if none is', { skip }, () =>
  withFallback({ workers: 1, restart: 'never' }, async (app) => {
    app.tell('retire', { slot: 0, reason: 'tired' });
    assert.strictEqual((await app.marker('retire')).reason, 'tired');
    const { worker, code, phase, stderrTail } = await app.marker('stopped');
    assert.deepStrictEqual([worker, code, phase, stderrTail], [app.workers[0].id, 0, 'service', null]);
    app.tell('stats');
    assert.strictEqual((await app.marker('stats')).slots[0].state, 'stopped');
    assert.strictEqual(countOf(app, 'spawn'), 1);
  }),
);

test('a worker that retires before it is ready is replaced', { skip }, () =>
  withFallback(
    { workers: 1, drainTimeout: 0 },
    async (app) => {
      const { worker } = await app.marker('spawn');
      app.tell('retire', { slot: 0, reason: 'tired' });
      assert.strictEqual((await app.marker('retire')).worker, worker);
      const { slot, cause } = await app.marker('spawn');
      assert.deepStrictEqual([slot, cause], [0, 'retire']);
      assert.strictEqual((await app.marker('exit')).id, worker);
    },
    { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/never-listen') } },
  ),
);

test('a worker that disconnects retires, and is replaced', { skip }, () =>
  withFallback(
    { workers: 1 },
    async (app) => {
      const [{ id }] = app.workers;
      app.tell('say ready', id);
      const { worker, reason, by } = await app.marker('retire');
      assert.deepStrictEqual([worker, reason, by], [id, 'disconnect', 'worker']);
      assert.strictEqual((await app.marker('listening')).slot, 0);
      assert.deepStrictEqual((await app.marker('exit')).id, id);
      assert.strictEqual(countOf(app, 'restart'), 0);
    },
    { env: { SCRIPT, LEAVES: 'disconnect' } },
  ),
);

test(
  'workers that retire again and again are replaced with growing waits, and serve meanwhile',
  { skip },
  () =>
    withFallback(
      {
        workers: 1,
        restartIntensity: { max: 0 },
        backoff: { immediate: 1, initial: 60_000, max: 60_000, jitter: 0, resetAfter: 60_000 },
      },
      async (app) => {
        const { slot, delay, failures } = await app.marker('backoff');
        assert.deepStrictEqual([slot, delay, failures], [0, 60_000, 2]);
        app.tell('stats');
        const { ready, restarts } = await app.marker('stats');
        assert.deepStrictEqual([ready, restarts], [1, 2]);
      },
      { listen: false, env: { SCRIPT, LEAVES: 'retire' } },
    ),
);

test(
  'a worker that retires stays until it has a successor, however many attempts that takes',
  { skip },
  async (t) => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-'));
    t.after(() => fs.rmSync(directory, { recursive: true }));
    const fate = path.join(directory, 'fate');
    const options = { workers: 1, restartIntensity: { max: 0 }, backoff: { initial: 10, max: 10 } };
    await withFallback(
      options,
      async (app) => {
        fs.writeFileSync(fate, 'crash');
        app.tell('retire', { slot: 0, reason: 'tired' });
        for (let count = 0; count < 2; count++) {
          assert.strictEqual((await app.marker('restart')).phase, 'start-up');
          assert.strictEqual((await app.who()).id, app.workers[0].id);
        }
        fs.writeFileSync(fate, 'listen');
        await until('its successor answers', async () => (await app.who()).id !== app.workers[0].id);
        assert.strictEqual(countOf(app, 'gave-up'), 0);
      },
      { env: { FATE: fate } },
    );
  },
);
