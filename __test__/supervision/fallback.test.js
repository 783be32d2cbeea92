'use strict';

// Supervision where there is no native part: the same calls and events, in JavaScript on the built-in cluster.

const assert = require('node:assert');
const fs = require('node:fs');
const { test } = require('node:test');
const { HttpLoad } = require('../../testing/http-load.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');
const { fatal } = require('../../testing/supervised.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';

test('a worker that dies is replaced in its slot', { skip }, () =>
  withFallback({ workers: 2 }, async (app) => {
    const [{ id, pid }] = app.workers;
    process.kill(pid, 'SIGKILL');
    const { worker, slot, signal, phase, delay } = await app.marker('restart');
    assert.deepStrictEqual([worker, slot, signal, phase, delay], [id, 0, 'SIGKILL', 'service', 0]);
    const replacement = await app.marker('listening');
    assert.strictEqual(replacement.slot, 0);
    await until('it answers', async () => {
      const who = await app.who();
      return who.pid === replacement.pid && who.slot === '0';
    });
  }),
);

test('a reload starts new code, and no new client is refused', { skip }, () =>
  withFallback({ workers: 2 }, async (app) => {
    const load = new HttpLoad(app.target, { rate: 100 });
    app.tell('environment', { GENERATION: 'new' });
    app.tell('reload');
    await app.marker('done');
    await load.answers(20);
    // A connection may be closed at the moment at which its client sends the next request, or the first: Node's http
    // closes connections without a pending request, and only the native part keeps them open or hands them over.
    const failures = Object.keys(await load.stop());
    assert.deepStrictEqual(
      failures.filter(
        (name) => !name.startsWith('ECONNRESET') && !name.endsWith('on a kept connection, reused'),
      ),
      [],
    );
    for (let count = 0; count < 2; count++) {
      const { code, exitedAfterDisconnect } = await app.marker('exit');
      assert.deepStrictEqual([code, exitedAfterDisconnect], [0, true]);
    }
    assert.strictEqual((await app.who()).generation, 'new');
  }),
);

test('a reload stops if the new code does not start', { skip }, () =>
  withFallback({ workers: 2 }, async (app) => {
    const fate = app.inDirectory('fate');
    fs.writeFileSync(fate, 'crash');
    app.tell('environment', { FATE: fate });
    app.tell('reload');
    const { code, message } = await app.marker('failed');
    assert.strictEqual(code, 'ERR_RCLUSTER_NOT_READY');
    assert.match(message, /slot 0.*exit code 3/);
    const pids = new Set();
    await until('the old ones answer', async () => pids.add((await app.who()).pid).size === 2);
    assert.deepStrictEqual(pids, new Set(app.workers.map(({ pid }) => pid)));
  }),
);

test('scale() adds and removes workers', { skip }, () =>
  withFallback({ workers: 1 }, async (app) => {
    app.tell('scale', 3);
    await app.marker('done');
    app.tell('stats');
    assert.strictEqual((await app.marker('stats')).ready, 3);
    app.tell('scale', 1);
    await app.marker('done');
    app.tell('stats');
    const { workers, processes, slots } = await app.marker('stats');
    assert.deepStrictEqual([workers, processes, slots.length], [1, 1, 1]);
  }),
);

test('code that cannot start is retried with growing waits, until it is given up', { skip }, () =>
  withFallback(
    {
      workers: 1,
      onGiveUp: 'exit',
      giveUpExitCode: 7,
      restartIntensity: { max: 3, period: 60_000 },
      backoff: { initial: 10, factor: 2, jitter: 0 },
    },
    async (app) => {
      for (const delay of [10, 20, 40]) {
        const facts = await app.marker('restart');
        assert.deepStrictEqual([facts.delay, facts.code, facts.phase], [delay, 3, 'start-up']);
      }
      const { scope, restarts, slot, code } = await app.marker('gave-up');
      assert.deepStrictEqual([scope, restarts, slot, code], ['slot', 3, 0, 3]);
      assert.deepStrictEqual(await app.exited, { code: 7, signal: null });
    },
    { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/crash') } },
  ),
);

test('a drain has a time limit', { skip }, () =>
  withFallback({ workers: 1, drainTimeout: 200 }, async (app) => {
    const waiting = app.ask('wait').then(
      () => 'answered',
      () => 'cut',
    );
    // It has begun when a second one is answered, because connections are taken in turn.
    await app.who();
    app.tell('reload');
    assert.strictEqual((await app.marker('drain-timeout')).worker, app.workers[0].id);
    assert.deepStrictEqual((await app.marker('exit')).code, 143);
    assert.strictEqual(await waiting, 'cut');
  }),
);

test('a worker can be retired', { skip }, () =>
  withFallback({ workers: 1 }, async (app) => {
    app.tell('retire', { slot: 0, reason: 'tired' });
    const { reason, by } = await app.marker('retire');
    assert.deepStrictEqual([reason, by], ['tired', 'primary']);
    const { id, code, exitedAfterDisconnect } = await app.marker('exit');
    assert.deepStrictEqual([id, code, exitedAfterDisconnect], [app.workers[0].id, 0, true]);
    await until('its successor answers', async () => (await app.who()).id !== app.workers[0].id);
  }),
);

test('SIGTERM ends the cluster with code 0', { skip }, () =>
  withFallback({ workers: 2 }, async (app) => {
    process.kill(app.pid, 'SIGTERM');
    assert.strictEqual((await app.marker('shutdown')).signal, 'SIGTERM');
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
  }),
);

test('a worker is not replaced after an exit that is not a failure by the policy', { skip }, () =>
  withFallback({ workers: 1, restart: 'on-failure' }, async (app) => {
    await fatal(app, 'exit/0');
    assert.strictEqual((await app.marker('stopped')).code, 0);
  }),
);

test('unsupported options are reported once', { skip }, () =>
  withFallback({ workers: 1, unresponsiveAfter: 1000, standby: 1 }, async (app) => {
    const warnings = [await app.marker('warning'), await app.marker('warning')];
    const [platform, { message }] = warnings;
    assert.deepStrictEqual(
      warnings.map(({ code }) => code),
      ['RCLUSTER_FALLBACK', 'RCLUSTER_FALLBACK'],
    );
    assert.match(platform.message, /built-in cluster/);
    assert.match(message, /'standby', 'unresponsiveAfter'/);
  }),
);
