'use strict';

// Workers are killed and replaced; every client is accounted for.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('./helpers/app.js');
const { Load } = require('./helpers/clients.js');
const { until, statusOf } = require('./helpers/processes.js');

const KILLS = 12;
const ABREAST = 32;

test('under load, only what a killed worker had received may fail', (t) =>
  withApp(
    {
      env: { WORKERS: '3', REFORK: 'yes' },
    },
    async (app) => {
      const alive = [...app.workers];
      const load = new Load(app.target, ABREAST, (number) => `${number}`);
      let seen = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        // After every hundred clients one of them, picked at random, and not before the last one has been replaced.
        await until('the clients get on', () => load.results.length >= seen + 100);
        seen = load.results.length;
        const [victim] = alive.splice(Math.floor(Math.random() * alive.length), 1);
        process.kill(victim.pid, 'SIGKILL');
        assert.strictEqual((await app.marker('exit')).id, victim.id);
        alive.push(await app.marker('listening'));
      }
      const { answered, closed, refused, hung } = await load.stop();
      assert.deepStrictEqual(hung, []);
      assert.deepStrictEqual(refused, []);
      for (const { text, number } of answered) assert.strictEqual(text.split(' ')[1], String(number));
      // A client that got nothing had been received: it got a reset, or an end, from a worker that was killed. No more than
      // there were clients at that moment can have been.
      assert.ok(closed.length <= KILLS * ABREAST, `${closed.length} clients failed`);
      t.diagnostic(`${closed.length} of ${load.results.length} clients failed`);
    },
  ));

test('what a killed worker had not received is answered by another', () =>
  withApp({}, async (app) => {
    const [victim, other] = app.workers;
    // A process that is stopped receives nothing.
    process.kill(victim.pid, 'SIGSTOP');
    await until('the worker is stopped', () => statusOf(victim.pid).state === 'T');
    const clients = Array.from({ length: 200 }, () => app.ask());
    // By then some are on their way to the stopped one.
    await Promise.all(clients.slice(0, 100).map((client) => client.connected));
    await Promise.any(clients);
    process.kill(victim.pid, 'SIGKILL');
    const results = await Promise.all(clients);
    assert.deepStrictEqual(
      results.filter(({ text }) => text !== `${other.id} hello`),
      [],
    );
  }));
