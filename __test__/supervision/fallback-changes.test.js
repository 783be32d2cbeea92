'use strict';

// Without the native part, too, a reload and a change of the number of workers do not disturb each other.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';

test('a reload leaves out slots that are being removed', { skip }, () =>
  withFallback({ workers: 2, drainTimeout: 60_000 }, async (app) => {
    // Connections are taken in turn, so of two requests one is at the worker whose slot is removed.
    const waiting = [app.ask('wait'), app.ask('wait')].map((request) => request.catch(() => {}));
    await Promise.all([app.who(), app.who()]);
    app.tell('scale', 1);
    await app.marker('draining');
    app.tell('reload');
    const { slots } = await app.marker('reload');
    assert.strictEqual(slots, 1);
    // The reload is done, while the scaling waits for the drain.
    await app.marker('done');
    app.tell('stats');
    const stats = await app.marker('stats');
    assert.deepStrictEqual([stats.workers, stats.ready], [1, 1]);
    assert.deepStrictEqual(
      stats.slots.map(({ state }) => state),
      ['serving', 'emptying'],
    );
    process.kill(app.workers[1].pid, 'SIGKILL');
    await app.marker('done');
    app.tell('stats');
    assert.strictEqual((await app.marker('stats')).slots.length, 1);
    app.tell('shutdown', { timeout: 0 });
    await app.marker('done');
    await Promise.all(waiting);
  }),
);

test('a reload tries a slot again that was given up, with a new budget', { skip }, () =>
  withFallback({ workers: 2, restartIntensity: { max: 1 } }, async (app) => {
    process.kill(app.workers[0].pid, 'SIGKILL');
    await app.marker('restart');
    process.kill((await app.marker('listening')).pid, 'SIGKILL');
    assert.strictEqual((await app.marker('gave-up')).phase, 'service');
    app.tell('reload');
    await app.marker('done');
    app.tell('stats');
    const { slots } = await app.marker('stats');
    process.kill(slots[0].pid, 'SIGKILL');
    assert.strictEqual((await app.marker('restart')).worker, slots[0].worker);
  }),
);

test('old workers are recycled one after the other', { skip }, () =>
  withFallback(
    // The budget allows each slot to be recycled once.
    { workers: 2, restartIntensity: { max: 1 }, recycle: { age: 1, jitter: 0 } },
    async (app) => {
      const first = await app.marker('recycle');
      assert.deepStrictEqual([first.cause, first.limit], ['age', 1]);
      const second = await app.marker('recycle');
      assert.notStrictEqual(second.slot, first.slot);
      // Both have a successor, and the first one was ready before the second worker had to leave.
      const successors = app.marks.filter(({ mark, data }) => mark === 'spawn' && data.cause === 'recycle');
      assert.ok(successors.length >= 1 && successors[0].data.slot === first.slot);
      const { worker } = successors[0].data;
      assert.ok(app.marks.some(({ mark, data }) => mark === 'ready' && data.worker === worker));
    },
  ),
);
