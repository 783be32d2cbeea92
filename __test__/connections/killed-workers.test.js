'use strict';

// Workers are killed and replaced; every client is accounted for.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { killUnderLoad } = require('../../testing/clients.js');
const { isStopped, until } = require('../../testing/processes.js');

const KILLS = 12;
const ABREAST = 32;

test('under load, only requests that a killed worker had received may fail', (t) =>
  withApp(
    {
      env: { WORKERS: '3', REFORK: 'yes' },
    },
    async (app) => {
      const { answered, closed, refused, hung, count } = await killUnderLoad(
        app,
        KILLS,
        ABREAST,
        (number) => `${number}`,
      );
      assert.deepStrictEqual(hung, []);
      assert.deepStrictEqual(refused, []);
      for (const { text, number } of answered) assert.strictEqual(text.split(' ')[1], String(number));
      // A client without an answer had been received: it got a reset, or an end, from a killed worker. There
      // cannot be more of these than clients at that moment.
      assert.ok(closed.length <= KILLS * ABREAST, `${closed.length} clients failed`);
      t.diagnostic(`${closed.length} of ${count} clients failed`);
    },
  ));

test('requests that a killed worker had not received are answered by another', () =>
  withApp({}, async (app) => {
    const [victim, other] = app.workers;
    // A process that is stopped receives nothing.
    process.kill(victim.pid, 'SIGSTOP');
    await until('the worker is stopped', () => isStopped(victim.pid));
    const clients = Array.from({ length: 200 }, () => app.ask());
    // By then some are in flight to the stopped worker.
    await Promise.all(clients.slice(0, 100).map((client) => client.connected));
    await Promise.any(clients);
    process.kill(victim.pid, 'SIGKILL');
    const results = await Promise.all(clients);
    assert.deepStrictEqual(
      results.filter(({ text }) => text !== `${other.id} hello`),
      [],
    );
  }));
