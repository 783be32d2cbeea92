'use strict';

// Without the native part, too, every request to the supervisor is answered, even if there is nothing to wait for.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';

const CRASHES = { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/crash') } };

const SHUT_DOWN = 'ERR_RCLUSTER_SHUT_DOWN';

test('SIGTERM ends a cluster that has no worker at the moment', { skip }, () =>
  withFallback(
    { workers: 1, backoff: { initial: 60_000, max: 60_000 } },
    async (app) => {
      await app.marker('backoff');
      process.kill(app.pid, 'SIGTERM');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    },
    CRASHES,
  ),
);

test('a cluster that has given up can be shut down', { skip }, () =>
  withFallback(
    { workers: 1, restartIntensity: { max: 0 }, giveUpExitCode: 7 },
    async (app) => assert.deepStrictEqual(await app.exited, { code: 7, signal: null }),
    CRASHES,
  ),
);

test('scaling to the number of workers that there is succeeds', { skip }, () =>
  withFallback({ workers: 1 }, async (app) => {
    app.tell('scale', 1);
    await app.marker('done');
  }),
);

test('requests for other workers are refused during a shutdown', { skip }, () =>
  withFallback({ workers: 1, shutdownTimeout: 60_000 }, async (app) => {
    const waiting = app.ask('wait').catch(() => {});
    // It has begun when a second one is answered, because connections are taken in turn.
    await app.who();
    app.tell('shutdown');
    await app.marker('shutdown');
    for (const [request, data] of [
      ['reload', undefined],
      ['scale', 2],
    ]) {
      app.tell(request, data);
      assert.strictEqual((await app.marker('failed')).code, SHUT_DOWN);
    }
    app.tell('stats');
    const { stopping, shuttingDown, slots } = await app.marker('stats');
    assert.deepStrictEqual([stopping, shuttingDown, slots[0].state], [true, true, 'emptying']);
    // A further call shortens the drains.
    app.tell('shutdown', { timeout: 0 });
    assert.strictEqual((await app.marker('drain-timeout')).worker, app.workers[0].id);
    await app.marker('done');
    await app.marker('done');
    await waiting;
  }),
);

test('an announced shutdown refuses requests for other workers, and ends those in progress', { skip }, () =>
  withFallback({ workers: 1, ready: 'listening' }, async (app) => {
    app.tell('environment', { FATE: require.resolve('../../testing/apps/fates/never-listen') });
    app.tell('reload');
    app.tell('shutdown', { delay: 60_000 });
    await app.marker('stopping');
    assert.strictEqual((await app.marker('failed')).code, SHUT_DOWN);
    app.tell('scale', 2);
    assert.strictEqual((await app.marker('failed')).code, SHUT_DOWN);
    app.tell('stats');
    const { stopping, shuttingDown } = await app.marker('stats');
    assert.deepStrictEqual([stopping, shuttingDown], [true, false]);
    // A second call ends the delay.
    app.tell('shutdown');
    await app.marker('shutdown');
    await app.marker('done');
    await app.marker('done');
  }),
);
