'use strict';

// The primary is killed. No worker outlives it, not even one whose JavaScript never runs again.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { hold } = require('../../testing/clients.js');
const { withFixture } = require('../helpers/run-fixture.js');
const { until, isAlive } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withSupervised } = require('../../testing/supervised.js');

test('idle workers end', () =>
  withApp({}, async (app) => {
    process.kill(app.pid, 'SIGKILL');
    await app.exited;
    for (const { id, pid } of app.workers) await until(`worker ${id} is gone`, () => !isAlive(pid));
  }));

for (const how of ['loop', 'wait', 'child']) {
  test(`a worker that is blocked (${how})`, () =>
    withFixture('workers/blocked-worker.js', { env: { HOW: how } }, async (fixture) => {
      const { pid } = await fixture.marker('blocked');
      process.kill(fixture.pid, 'SIGKILL');
      assert.strictEqual((await fixture.exited).signal, 'SIGKILL');
      await until('the worker is gone', () => !isAlive(pid));
    }));
}

test('a worker that handles all signals ends', () =>
  withFixture(
    'workers/blocked-worker.js',
    {
      env: { HOW: 'loop', STUBBORN: 'yes' },
    },
    async (fixture) => {
      const { pid } = await fixture.marker('blocked');
      process.kill(fixture.pid, 'SIGKILL');
      await fixture.exited;
      await until('the worker is gone', () => !isAlive(pid));
    },
  ));

test('a draining supervised worker keeps its time limit', { skip: isBuiltin }, () =>
  withSupervised({ workers: 1, drainTimeout: 5000 }, async (app) => {
    const [{ id, pid }] = app.workers;
    // The answer never ends, so that it would drain forever.
    const client = hold(app.target);
    await client.connected;
    client.socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.text;
    app.tell('retire', { slot: 0, reason: 'test' });
    assert.strictEqual((await app.marker('draining')).id, id);
    process.kill(app.pid, 'SIGKILL');
    await app.exited;
    await until('the worker is gone', () => !isAlive(pid));
    await client.close();
  }),
);
