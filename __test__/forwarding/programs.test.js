'use strict';

// Workers that are not Node.

const assert = require('node:assert');
const { test } = require('node:test');
const { withForward } = require('../helpers/forward.js');
const { pythonServer, withoutPython } = require('../helpers/python.js');
const { until, isAlive } = require('../../testing/processes.js');

const SETTINGS = JSON.stringify(pythonServer);

test('servers in Python take turns, die and can be drained', { skip: withoutPython }, () =>
  withForward({}, { SETTINGS, WORKERS: '2' }, async (app) => {
    const pids = new Set();
    await until('both have answered', async () => {
      pids.add((await app.get('/a')).split(' ')[0]);
      return pids.size === 2;
    });
    const [first, second] = [...pids].map(Number);
    process.kill(first, 'SIGKILL');
    const { id, signal } = await app.marker('exit');
    assert.strictEqual(signal, 'SIGKILL');
    for (let i = 0; i < 6; i++) assert.strictEqual(await app.get(`/${i}`), `${second} /${i}`);
    const other = 3 - id;
    app.tell('disconnect', other);
    assert.deepStrictEqual(await app.marker('exit'), { id: other, code: null, signal: 'SIGTERM' });
    assert.strictEqual(isAlive(second), false);
    assert.deepStrictEqual((await app.report()).workers, []);
  }),
);

test('a program does not outlive the primary', { skip: withoutPython }, () =>
  withForward({}, { SETTINGS, WORKERS: '1' }, async (app) => {
    const pid = Number((await app.get('/')).split(' ')[0]);
    app.child.kill('SIGKILL');
    await app.exited;
    await until('the worker is gone', () => !isAlive(pid));
  }),
);
