'use strict';

// Descriptors run out. Clients wait, no connection is lost, and one warning reports it.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { withFixture } = require('../helpers/run-fixture.js');
const { membersOf } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

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
      // A worker warns when it could not accept a client.
      const { code, message } = await app.marker('worker warning');
      assert.strictEqual(code, 'RCLUSTER_EXHAUSTED');
      assert.match(message, /this worker has too few descriptors left/);
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

for (const [policy, expected] of [
  ['round-robin', 'listening'],
  ['kernel', 'bind EMFILE -24'],
  ['none', 'bind EMFILE -24'],
]) {
  test(`a worker without room for the socket of its listen(), ${policy}: ${expected}`, () =>
    withFixture('connections/late-listen.js', { env: { SCHEDULING: policy } }, async (fixture) => {
      assert.deepStrictEqual(await fixture.marker('outcomes'), [expected, 'listening']);
      assert.deepStrictEqual(await fixture.marker('exit'), { code: null, signal: 'SIGTERM' });
    }));
}

// The number of clients that the built-in serves with so few descriptors.
for (const [limit, workers, count] of [
  [64, 2, 20],
  [128, 1, 70],
  [256, 1, 190],
]) {
  test(`a limit of ${limit}: ${workers} workers serve ${count} clients at a time`, () =>
    withApp({ descriptors: limit, env: { WORKERS: String(workers) } }, async (app) => {
      const clients = Array.from({ length: count }, () => app.stay());
      await Promise.all(clients.map(({ text }) => text));
      await Promise.all(clients.map((client) => client.close()));
      assert.strictEqual((await app.ask()).outcome, 'answered');
      // No process ran out of anything.
      assert.deepStrictEqual(
        app.marks.filter(({ mark }) => mark === 'worker warning'),
        [],
      );
    }));
}

test('wherever the first fork runs out of descriptors, its error has a code and nothing is left behind', () =>
  withFixture('connections/first-fork.js', { descriptors: 80 }, async (fixture) => {
    await fixture.marker('online');
    const failed = fixture.marks.filter(({ mark }) => mark === 'failed').map(({ data }) => data);
    for (const { code, errno, how, rest } of failed) {
      assert.deepStrictEqual({ code, errno }, { code: 'EMFILE', errno: -24 }, `${how} with ${rest}`);
    }
    // First the native threads cannot be started, then the process. Their descriptors are opened once.
    const thrown = failed.filter(({ how }) => how === 'thrown');
    assert.deepStrictEqual(failed.slice(0, thrown.length), thrown);
    assert.ok(thrown.length > 3 && failed.length > thrown.length + 3, fixture.output);
    const leaked = (list) => list.map(({ leaked }) => leaked).filter((count) => count !== 0);
    assert.ok(leaked(thrown).length <= 1, 'the native part is opened once');
    assert.deepStrictEqual(leaked(failed.slice(thrown.length + 1)), []);
    assert.deepStrictEqual(await fixture.exited, { code: 0, signal: null });
    assert.deepStrictEqual(membersOf(fixture.pid), []);
  }));

test('clients that wait do not take the descriptors that starting a worker needs', { skip: isBuiltin }, () =>
  withApp({ descriptors: 128, env: { REFORK: '1' } }, async (app) => {
    for (const { pid } of app.workers) process.kill(pid, 'SIGSTOP');
    const clients = Array.from({ length: 300 }, () => app.ask());
    await Promise.all(clients.map((client) => client.connected));
    assert.match((await app.marker('warning')).message, /keeping descriptors for starting workers/);
    for (const { pid } of app.workers) process.kill(pid, 'SIGKILL');
    assert.deepStrictEqual(
      (await Promise.all(clients)).filter(({ outcome }) => outcome !== 'answered'),
      [],
    );
  }),
);
