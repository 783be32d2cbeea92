'use strict';

// Workers that end are replaced, in the same slot, according to the policy, even while the primary's JavaScript is busy.

const assert = require('node:assert');
const fs = require('node:fs');
const { test } = require('node:test');
const { withSupervised, standbyOf, fatal } = require('../../testing/supervised.js');
const { until, statusOf } = require('../../testing/processes.js');

test('a worker that is killed is replaced in its slot, and its port stays open', () =>
  withSupervised({ workers: 1 }, async (app) => {
    const [before] = app.workers;
    process.kill(before.pid, 'SIGKILL');
    const restart = await app.marker('restart');
    assert.deepStrictEqual(
      [restart.slot, restart.worker, restart.code, restart.signal, restart.phase, restart.delay],
      [0, before.id, null, 'SIGKILL', 'service', 0],
    );
    // If the client connects too early, it waits in the backlog.
    const after = await app.who();
    assert.deepStrictEqual([after.slot, after.id > before.id], ['0', true]);
    const listening = await app.marker('listening');
    assert.deepStrictEqual([listening.slot, listening.port], [0, app.target.port]);
    assert.deepStrictEqual(await app.marker('exit'), {
      id: before.id,
      slot: 0,
      code: null,
      signal: 'SIGKILL',
      exitedAfterDisconnect: false,
    });
  }));

test('workers are also replaced while the primary is blocked', () =>
  withSupervised({ workers: 2 }, async (app) => {
    const file = app.inDirectory('go on');
    app.tell('block', file);
    await app.marker('blocked');
    for (const { pid } of app.workers) process.kill(pid, 'SIGKILL');
    const pids = new Set();
    // Both slots are served again, by processes that the primary's JavaScript does not know yet.
    await until('both are replaced', async () => pids.add((await app.who()).pid).size === 2);
    for (const { pid } of app.workers) assert.ok(!pids.has(pid));
    assert.ok(!app.marks.some(({ mark }) => mark === 'unblocked'));
    fs.writeFileSync(file, '');
    await app.marker('unblocked');
    const adopted = [await app.marker('listening'), await app.marker('listening')];
    assert.deepStrictEqual(new Set(adopted.map(({ pid }) => pid)), pids);
    // They are ordinary children: messages and signals reach them, and their exits are reported.
    process.kill(adopted[0].pid, 'SIGTERM');
    await app.marker('listening');
  }));

for (const { restart, ends } of [
  { restart: 'always', ends: { 'exit/0': true, 'exit/7': true } },
  { restart: 'on-failure', ends: { 'exit/0': false, 'exit/7': true } },
  { restart: 'never', ends: { 'exit/0': false, 'exit/7': false } },
]) {
  for (const [page, replaced] of Object.entries(ends)) {
    test(`restart ${restart}: ${page} ${replaced ? 'is' : 'is not'} replaced`, () =>
      withSupervised({ workers: 2, restart }, async (app) => {
        await fatal(app, page);
        const { slot, code } = await app.marker(replaced ? 'restart' : 'stopped');
        assert.strictEqual(code, Number(page.split('/')[1]));
        if (replaced) assert.strictEqual((await app.marker('listening')).slot, slot);
        app.tell('stats');
        const { slots } = await app.marker('stats');
        assert.strictEqual(slots[slot].state, replaced ? 'serving' : 'stopped');
        assert.strictEqual(slots[1 - slot].state, 'serving');
      }));
  }
}

test('a worker is not replaced after an exit code in stopExitCodes', () =>
  withSupervised({ workers: 2, stopExitCodes: [7] }, async (app) => {
    await fatal(app, 'exit/7');
    assert.strictEqual((await app.marker('stopped')).code, 7);
    await fatal(app, 'exit/8');
    assert.strictEqual((await app.marker('restart')).code, 8);
  }));

test('without any present or future worker, the primary is not kept alive', () =>
  withSupervised({ workers: 1, restart: 'never' }, async (app) => {
    await fatal(app, 'exit/0');
    await app.marker('stopped');
    // Only the channel to this test is left.
    app.tell('let go');
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
  }));

test('a worker that cannot start is restarted with growing waits, until it is given up', () =>
  withSupervised(
    {
      workers: 1,
      restartIntensity: { max: 3, period: 60_000 },
      backoff: { initial: 1, max: 4, factor: 2, jitter: 0 },
    },
    async (app) => {
      const delays = [];
      for (let count = 0; count < 3; count++) {
        const { phase, code } = await app.marker('restart');
        assert.deepStrictEqual([phase, code], ['start-up', 3]);
        delays.push((await app.marker('backoff')).delay);
      }
      assert.deepStrictEqual(delays, [1, 2, 4]);
      const gaveUp = await app.marker('gave-up');
      assert.deepStrictEqual([gaveUp.slot, gaveUp.scope, gaveUp.restarts, gaveUp.code], [0, 'slot', 3, 3]);
      const { gaveUp: isEnd, reason, exitCode } = await app.marker('shutdown');
      assert.deepStrictEqual([isEnd, exitCode, reason], [true, 70, 'it ended with exit code 3']);
      assert.deepStrictEqual(await app.ended(), { code: 70, signal: null });
      assert.match(app.stderr.trim().split('\n').at(-1), /exits with code 70; .*exit code 3$/);
    },
    { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/crash') } },
  ));

test('a program that never starts is given up', () =>
  withSupervised(
    { workers: 2, backoff: { initial: 1, max: 100 }, startUpLimit: 500 },
    async (app) => {
      for (let count = 0; count < 2; count++) {
        assert.strictEqual((await app.marker('gave-up')).scope, 'start-up');
      }
      assert.deepStrictEqual(await app.ended(), { code: 70, signal: null });
      assert.match(app.stderr, /no worker has ever been ready/);
    },
    { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/crash') } },
  ));

for (const page of ['exit/1', 'exit/7']) {
  test(`when the last worker fails for good with ${page}, the primary exits and reports why`, () =>
    withSupervised({ workers: 1, restart: 'never', stopExitCodes: [7] }, async (app) => {
      await fatal(app, page);
      assert.deepStrictEqual(await app.ended(), { code: 70, signal: null });
      const code = page.split('/')[1];
      assert.match(app.stderr.trim().split('\n').at(-1), new RegExp(`code 70; .*exit code ${code}$`));
    }));
}

test('as long as one slot serves, the others may be given up, and a reload is a new chance', () =>
  withSupervised({ workers: 2, restartIntensity: { max: 0 } }, async (app) => {
    await fatal(app, 'exit/1');
    const { slot } = await app.marker('gave-up');
    app.tell('stats');
    const { slots } = await app.marker('stats');
    assert.deepStrictEqual([slots[slot].state, slots[1 - slot].state], ['given-up', 'serving']);
    app.tell('reload');
    await app.marker('done');
    app.tell('stats');
    assert.strictEqual((await app.marker('stats')).ready, 2);
  }));

test('giving up can end the primary, with a configured code', () =>
  withSupervised(
    { workers: 1, restartIntensity: { max: 0 }, onGiveUp: 'exit', giveUpExitCode: 71 },
    async (app) => {
      assert.deepStrictEqual(await app.exited, { code: 71, signal: null });
    },
    { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/crash') } },
  ));

test('a worker that is not ready in time has failed to start', () =>
  withSupervised(
    { workers: 1, readyTimeout: 500, backoff: { initial: 1 }, restartIntensity: { max: 1 } },
    async (app) => {
      const { phase, reason } = await app.marker('restart');
      assert.deepStrictEqual(
        [phase, reason],
        [
          'start-up',
          'it was not ready in time: none of its servers listens (a program without servers needs the option ready, as in --ready online)',
        ],
      );
      assert.strictEqual((await app.marker('exit')).id, 1);
      await app.marker('gave-up');
      // Not before the last of them has ended.
      assert.deepStrictEqual(await app.exited, { code: 70, signal: null });
    },
    { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/never-listen') } },
  ));

test('a standby takes over from a worker that dies, at once', () =>
  withSupervised({ workers: 1, standby: 1 }, async (app) => {
    const [before] = app.workers;
    const standby = await standbyOf(app);
    // It listens as well, and gets no connections.
    for (let count = 0; count < 20; count++) assert.strictEqual((await app.who()).pid, before.pid);
    process.kill(before.pid, 'SIGKILL');
    const promote = await app.marker('promote');
    assert.deepStrictEqual([promote.worker, promote.slot], [standby.worker, 0]);
    assert.deepStrictEqual(await app.who(), { id: standby.worker, slot: '0', pid: standby.pid });
    assert.strictEqual(statusOf(standby.pid).parent, app.pid);
    // Another standby is started.
    const next = await until('the next standby', async () => {
      const spawn = await app.marker('spawn');
      return spawn.cause === 'standby' && spawn.worker > standby.worker;
    });
    assert.ok(next);
  }));
