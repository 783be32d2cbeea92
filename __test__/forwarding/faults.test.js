'use strict';

// Workers on addresses of their own are killed, told to leave, and replaced; every client is accounted for.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { Load, killUnderLoad } = require('../../testing/clients.js');
const { withForward } = require('../helpers/forward.js');
const { until } = require('../../testing/processes.js');

const ABREAST = 16;
const request = (number) => `GET /${number} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;

/** Every answer belongs to its request. */
function assertAnswers(answered) {
  for (const { text, number } of answered) assert.match(text, new RegExp(` /${number} `));
}

test('under load, only requests that a killed worker had received may fail', (t) =>
  withForward({ to: 'path' }, { WORKERS: '3', REFORK: 'yes' }, async (app) => {
    const KILLS = 8;
    const { answered, closed, refused, hung, count } = await killUnderLoad(app, KILLS, ABREAST, request);
    assert.deepStrictEqual([hung, refused], [[], []]);
    assertAnswers(answered);
    assert.ok(closed.length <= KILLS * ABREAST, `${closed.length} clients failed`);
    t.diagnostic(`${closed.length} of ${count} clients failed`);
    const report = await until('all connections are over', async () => {
      const now = await app.report();
      return now.connections === 0 && now;
    });
    assert.strictEqual(report.accepted, count, 'each client was accepted once');
    assert.strictEqual(report.turnedAway, 0);
  }));

test('workers that leave one after another lose no client', () =>
  withForward({}, { WORKERS: '3', REFORK: 'yes' }, async (app) => {
    const load = new Load(app.target, ABREAST, request);
    let seen = 0;
    for (const { id } of app.workers) {
      await until('the clients get on', () => load.results.length >= seen + 100);
      seen = load.results.length;
      app.tell('disconnect', id);
      assert.deepStrictEqual(await app.marker('exit'), { id, code: 0, signal: null });
      await app.marker('listening');
    }
    const { answered, closed, refused, hung } = await load.stop();
    assert.deepStrictEqual([hung, refused, closed], [[], [], []]);
    assertAnswers(answered);
  }));

test('a worker that leaves by itself drains, and the others continue to serve', () =>
  withForward({}, { WORKERS: '2' }, async (app) => {
    const [{ id }, { id: other }] = app.workers;
    app.tell('leave', id);
    assert.deepStrictEqual(await app.marker('exit'), { id, code: 0, signal: null });
    for (let i = 0; i < 6; i++) assert.match(await app.get(), new RegExp(`^${other} `));
  }));

test('clients are served while the JavaScript of the primary is blocked', () =>
  withForward({}, { WORKERS: '2' }, async (app) => {
    const file = path.join(app.directory, 'unblock');
    app.tell('block', file);
    await app.marker('blocked');
    const ids = new Set();
    for (let i = 0; i < 10; i++) ids.add((await app.get()).split(' ')[0]);
    assert.deepStrictEqual([...ids].sort(), ['1', '2']);
    // Even if one of the workers dies meanwhile.
    process.kill(app.workers[0].pid, 'SIGKILL');
    for (let i = 0; i < 10; i++) {
      await app.get().catch((error) => assert.strictEqual(error.code, 'ECONNRESET'));
    }
    const [, { id }] = app.workers;
    for (let i = 0; i < 10; i++) assert.match(await app.get(), new RegExp(`^${id} `));
    fs.writeFileSync(file, '');
    await app.marker('unblocked');
  }));

test('without a worker clients wait for the next one', () =>
  withForward({}, { WORKERS: '1' }, async (app) => {
    process.kill(app.workers[0].pid, 'SIGKILL');
    await app.marker('exit');
    const clients = Array.from({ length: 50 }, (_, number) => app.get(`/${number}`));
    app.tell('fork');
    const answers = await Promise.all(clients);
    assert.deepStrictEqual(
      answers,
      answers.map((_, number) => `2 /${number} 0`),
    );
  }));
