'use strict';

// Workers that throw, hang or grow, under load: only what must fail does.

const assert = require('node:assert');
const fs = require('node:fs');
const { test } = require('node:test');
const { withSupervised } = require('../../testing/supervised.js');
const { HttpLoad } = require('../../testing/http-load.js');
const { exchange } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');

for (const page of ['throw', 'reject']) {
  test(`uncaught: /${page} among others: only those requests fail`, (t) =>
    withSupervised({ workers: 3 }, async (app) => {
      let bad = 0;
      const load = new HttpLoad(app.target, {
        rate: 100,
        path: (number) => (number % 50 === 49 && ++bad ? `/${page}` : '/who'),
      });
      const reason = page === 'throw' ? 'uncaughtException' : 'unhandledRejection';
      for (let count = 0; count < 4; count++) {
        const retire = await app.marker('retire');
        assert.deepStrictEqual([retire.reason, retire.by], [reason, 'worker']);
        assert.match(retire.detail, page === 'throw' ? /thrown by a request/ : /rejected by a request/);
      }
      await load.answers(50);
      assert.deepStrictEqual(await load.stop(), { 500: bad });
      t.diagnostic(`${bad} of ${load.answered + bad} requests threw`);
      // It has left by agreement, but not with exit code 0.
      const { code, exitedAfterDisconnect } = await app.marker('exit');
      assert.deepStrictEqual([code, exitedAfterDisconnect], [1, true]);
    }));
}

test('an endless loop: the worker is replaced, its event has the stack, and clients that waited for it are answered', () =>
  withSupervised({ workers: 2, unresponsiveAfter: 1000 }, async (app) => {
    const lost = exchange(app.target, 'GET /hang HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('one of them is blocked', () => fs.existsSync(app.inDirectory('hung')));
    // From now on it receives nothing, so that it has no client but the first.
    const load = new HttpLoad(app.target, { rate: 100 });
    const { slot, stack, worker } = await app.marker('unresponsive');
    assert.match(stack, /hang .*supervised\.js/);
    const exit = await app.marker('exit');
    assert.deepStrictEqual([exit.id, exit.signal], [worker, 'SIGKILL']);
    assert.strictEqual((await app.marker('listening')).slot, slot);
    await load.answers(50);
    assert.deepStrictEqual(await load.stop(), {});
    assert.strictEqual((await lost).outcome, 'closed');
  }));

test('an idle worker is not considered blocked', () =>
  withSupervised({ workers: 2, unresponsiveAfter: 500 }, async (app) => {
    // Several times as long as the limit: an idle worker's loop turns only because of probes.
    for (const end = performance.now() + 2000; performance.now() < end;) {
      app.tell('stats');
      const { restarts, ready } = await app.marker('stats');
      assert.deepStrictEqual([restarts, ready], [0, 2]);
      await app.who();
    }
  }));

test('a worker that grows is first replaced, then drained', () =>
  withSupervised({ workers: 2, recycle: { memory: 200 << 20, jitter: 0 } }, async (app) => {
    const load = new HttpLoad(app.target, { rate: 50 });
    const leak = async () => {
      const sockets = exchange(app.target, 'GET /leak/10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      assert.strictEqual((await sockets).outcome, 'answered');
      return app.marks.some(({ mark }) => mark === 'recycle');
    };
    await until('one of them has grown too big', leak);
    const { slot, worker, cause, value, limit } = await app.marker('recycle');
    assert.deepStrictEqual([cause, limit], ['memory', 200 << 20]);
    assert.ok(value > limit);
    const exit = await until('it has gone', async () => {
      const { id, ...rest } = await app.marker('exit');
      return id === worker && rest;
    });
    assert.deepStrictEqual([exit.slot, exit.code, exit.exitedAfterDisconnect], [slot, 0, true]);
    await load.answers(20);
    assert.deepStrictEqual(await load.stop(), {});
  }));

test('a worker that has received enough connections is replaced', () =>
  withSupervised({ workers: 2, recycle: { connections: 50, jitter: 0 } }, async (app) => {
    const load = new HttpLoad(app.target, { rate: 100 });
    for (let count = 0; count < 2; count++) {
      const { cause, value, limit } = await app.marker('recycle');
      assert.deepStrictEqual([cause, limit, value >= limit], ['connections', 50, true]);
      assert.strictEqual((await app.marker('exit')).code, 0);
    }
    assert.deepStrictEqual(await load.stop(), {});
  }));

test('a worker that is old is replaced', () =>
  withSupervised({ workers: 1, recycle: { age: 1000 } }, async (app) => {
    const { cause, worker, value } = await app.marker('recycle');
    assert.deepStrictEqual([cause, worker], ['age', app.workers[0].id]);
    assert.ok(value >= 900);
    assert.strictEqual((await app.marker('exit')).exitedAfterDisconnect, true);
    assert.notStrictEqual((await app.who()).pid, app.workers[0].pid);
  }));
