'use strict';

// The primary is killed. No worker outlives it, not even one whose JavaScript never gets to run again.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('./helpers/app.js');
const { withFixture } = require('./helpers/run-fixture.js');
const { until, isAlive } = require('./helpers/processes.js');

test('idle workers', () =>
  withApp({}, async (app) => {
    process.kill(app.pid, 'SIGKILL');
    await app.exited;
    for (const { id, pid } of app.workers) await until(`worker ${id} is gone`, () => !isAlive(pid));
  }));

for (const how of ['loop', 'wait', 'child']) {
  test(`a worker that is blocked (${how})`, () =>
    withFixture('blocked-worker.js', { env: { HOW: how } }, async (fixture) => {
      const { pid } = await fixture.marker('blocked');
      process.kill(fixture.pid, 'SIGKILL');
      assert.strictEqual((await fixture.exited).signal, 'SIGKILL');
      await until('the worker is gone', () => !isAlive(pid));
    }));
}

test('a worker that handles the signals one could send it', () =>
  withFixture(
    'blocked-worker.js',
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
