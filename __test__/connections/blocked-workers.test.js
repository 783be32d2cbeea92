'use strict';

// A blocked worker does not keep connections waiting: another answers them while it is still blocked.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { isStopped, until } = require('../../testing/processes.js');

for (const policy of ['round-robin', 'least-connections', 'least-loaded', 'kernel']) {
  test(`a worker in an endless loop, ${policy}`, () =>
    withApp({ env: { SCHEDULING: JSON.stringify(policy) } }, async (app) => {
      const [blocked, other] = app.workers;
      const released = path.join(app.directory, 'released');
      app.tell('tell', { id: blocked.id, command: 'block', until: released });
      await app.marker('worker blocked');

      // All at once, so that some are in flight to the blocked one, and then one after another.
      const results = await Promise.all(Array.from({ length: 200 }, () => app.ask()));
      for (let count = 0; count < 50; count++) results.push(await app.ask());
      assert.deepStrictEqual(
        results.filter(({ text }) => text !== `${other.id} hello`),
        [],
      );

      fs.writeFileSync(released, '');
      await until('it serves again', async () => (await app.ask()).text === `${blocked.id} hello`);
    }));
}

for (const policy of ['round-robin', 'kernel']) {
  test(`a stopped process, ${policy}`, () =>
    withApp({ env: { SCHEDULING: JSON.stringify(policy) } }, async (app) => {
      const [stopped, other] = app.workers;
      process.kill(stopped.pid, 'SIGSTOP');
      await until('the worker is stopped', () => isStopped(stopped.pid));
      const results = await Promise.all(Array.from({ length: 200 }, () => app.ask()));
      assert.deepStrictEqual(
        results.filter(({ text }) => text !== `${other.id} hello`),
        [],
      );
      process.kill(stopped.pid, 'SIGCONT');
      await until('it serves again', async () => (await app.ask()).text === `${stopped.id} hello`);
    }));

  test(`all workers blocked: clients wait, and none is lost, ${policy}`, () =>
    withApp({ env: { SCHEDULING: JSON.stringify(policy) } }, async (app) => {
      const released = path.join(app.directory, 'released');
      for (const { id } of app.workers) {
        app.tell('tell', { id, command: 'block', until: released });
        await app.marker('worker blocked');
      }
      const clients = Array.from({ length: 500 }, () => app.ask());
      await Promise.all(clients.map((client) => client.connected));
      fs.writeFileSync(released, '');
      const results = await Promise.all(clients);
      assert.deepStrictEqual(
        results.filter(({ outcome }) => outcome !== 'answered'),
        [],
      );
    }));
}

test('clients behind one that blocks its worker are served by other workers', () =>
  withApp({ env: { WORKERS: '1' } }, async (app) => {
    const [worker] = app.workers;
    const blocked = path.join(app.directory, 'blocked');
    const released = path.join(app.directory, 'released');
    app.tell('tell', { id: worker.id, command: 'block-at-next-client', blocked, until: released });
    await app.marker('pong');
    // They are all in its channel when it continues, one after the other.
    process.kill(worker.pid, 'SIGSTOP');
    await until('the worker is stopped', () => isStopped(worker.pid));
    const clients = [];
    for (let count = 1; count <= 5; count++) {
      clients.push(app.ask());
      await until('the client is passed', async () => (await app.listenerStats()).passed === count);
    }
    process.kill(worker.pid, 'SIGCONT');
    await until('the worker is blocked', () => fs.existsSync(blocked));
    app.tell('fork', {});
    const other = await app.marker('listening');
    const [first, ...rest] = clients;
    const results = await Promise.all(rest);
    assert.deepStrictEqual(new Set(results.map(({ text }) => text)), new Set([`${other.id} hello`]));
    fs.writeFileSync(released, '');
    assert.strictEqual((await first).text, `${worker.id} hello`);
  }));
