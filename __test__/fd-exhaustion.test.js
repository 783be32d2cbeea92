'use strict';

// Descriptors run out. Clients wait; nobody is lost; whoever runs the application is told once.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('./helpers/app.js');

const DESCRIPTORS = 200;

test('in the primary', () =>
  withApp({ descriptors: DESCRIPTORS }, async (app) => {
    assert.strictEqual((await app.ask()).outcome, 'answered');
    for (let round = 0; round < 3; round++) {
      app.tell('exhaust');
      assert.strictEqual((await app.marker('exhausted')).code, 'EMFILE');
      const clients = Array.from({ length: 50 }, () => app.ask());
      await Promise.all(clients.map((client) => client.connected));
      if (round === 0) assert.match((await app.marker('warning')).message, /EMFILE/);
      app.tell('relieve');
      await app.marker('relieved');
      const results = await Promise.all(clients);
      assert.deepStrictEqual(
        results.filter(({ outcome }) => outcome !== 'answered'),
        [],
      );
    }
    assert.deepStrictEqual(
      app.marks.filter(({ mark }) => mark === 'warning'),
      [],
    );
  }));

for (const policy of ['round-robin', 'kernel']) {
  const env = { SCHEDULING: JSON.stringify(policy) };

  test(`in a worker: another one serves, ${policy}`, () =>
    withApp({ descriptors: DESCRIPTORS, env }, async (app) => {
      const [exhausted, other] = app.workers;
      app.tell('tell', { id: exhausted.id, command: 'exhaust' });
      assert.strictEqual((await app.marker('worker exhausted')).code, 'EMFILE');
      const clients = Array.from({ length: 100 }, () => app.ask());
      await Promise.any(clients);
      app.tell('tell', { id: exhausted.id, command: 'relieve' });
      await app.marker('worker relieved');
      const results = await Promise.all(clients);
      assert.deepStrictEqual(
        results.filter(({ outcome }) => outcome !== 'answered'),
        [],
      );
      assert.ok(results.some(({ text }) => text === `${other.id} hello`));
    }));

  test(`in all workers: clients wait, ${policy}`, () =>
    withApp({ descriptors: DESCRIPTORS, env }, async (app) => {
      for (const { id } of app.workers) {
        app.tell('tell', { id, command: 'exhaust' });
        assert.strictEqual((await app.marker('worker exhausted')).code, 'EMFILE');
      }
      const clients = Array.from({ length: 100 }, () => app.ask());
      await Promise.all(clients.map((client) => client.connected));
      for (const { id } of app.workers) {
        app.tell('tell', { id, command: 'relieve' });
        await app.marker('worker relieved');
      }
      const results = await Promise.all(clients);
      assert.deepStrictEqual(
        results.filter(({ outcome }) => outcome !== 'answered'),
        [],
      );
    }));
}
