'use strict';

// An orderly shutdown: open requests are finished, within a time limit, and the primary exits with 0.

const assert = require('node:assert');
const { test } = require('node:test');
const { withSupervised } = require('../../testing/supervised.js');
const { HttpLoad } = require('../../testing/http-load.js');
const { exchange, hold } = require('../../testing/clients.js');

for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT']) {
  test(`${signal} to the primary`, () =>
    withSupervised({ workers: 2 }, async (app) => {
      process.kill(app.pid, signal);
      assert.strictEqual((await app.marker('shutdown')).signal, signal);
      assert.deepStrictEqual(await app.ended(), { code: 0, signal: null });
      const ends = app.marks
        .filter(({ mark }) => mark === 'exit')
        .map(({ data }) => [data.code, data.signal]);
      assert.deepStrictEqual(ends, [
        [0, null],
        [0, null],
      ]);
    }));
}

for (const signal of ['SIGINT', 'SIGQUIT']) {
  test(`${signal} to the whole group, as a terminal sends it`, () =>
    withSupervised({ workers: 2 }, async (app) => {
      process.kill(-app.pid, signal);
      assert.deepStrictEqual(await app.ended(), { code: 0, signal: null });
      assert.ok(app.marks.every(({ mark, data }) => mark !== 'exit' || data.code === 0));
    }));
}

test('a second Ctrl-C, after all workers have ended, has no effect', () =>
  withSupervised(
    { workers: 1 },
    async (app) => {
      process.kill(app.pid, 'SIGINT');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    },
    { env: { SIGNAL_AT_EXIT: 'SIGINT' } },
  ));

test('requests that have begun are answered', () =>
  withSupervised({ workers: 2 }, async (app) => {
    const load = new HttpLoad(app.target, { rate: 50 });
    await load.answers(20);
    const last = load.stop();
    process.kill(app.pid, 'SIGTERM');
    assert.deepStrictEqual(await last, {});
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
  }));

for (const scheduling of ['round-robin', 'kernel']) {
  test(`clients in the backlog are served, more than the workers and the queue take, ${scheduling}`, () =>
    withSupervised(
      { workers: 1, drainTimeout: 60_000, shutdownTimeout: 120_000 },
      async (app) => {
        const [{ pid }] = app.workers;
        process.kill(pid, 'SIGSTOP');
        const clients = Array.from({ length: 400 }, () =>
          exchange(app.target, 'GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
        );
        await Promise.all(clients.map((client) => client.connected));
        process.kill(app.pid, 'SIGTERM');
        await app.marker('shutdown');
        process.kill(pid, 'SIGCONT');
        const outcomes = (await Promise.all(clients)).map(({ outcome }) => outcome);
        assert.deepStrictEqual(
          outcomes.filter((outcome) => outcome !== 'answered'),
          [],
        );
        assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
      },
      { env: { SETTINGS: JSON.stringify({ scheduling }) } },
    ));
}

test('the wait for clients that keep their connections is limited', () =>
  withSupervised({ workers: 1, drainTimeout: 500, killTimeout: 100 }, async (app) => {
    const client = hold(app.target);
    client.socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.text;
    process.kill(app.pid, 'SIGTERM');
    const { worker, connections } = await app.marker('drain-timeout');
    assert.deepStrictEqual([worker, connections], [app.workers[0].id, 1]);
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    await client.close();
  }));

test('a second signal forces the shutdown', () =>
  withSupervised({ workers: 1, drainTimeout: 60_000 }, async (app) => {
    const client = hold(app.target);
    client.socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.text;
    process.kill(app.pid, 'SIGTERM');
    await app.marker('shutdown');
    process.kill(app.pid, 'SIGINT');
    assert.strictEqual((await app.marker('exit')).signal, 'SIGKILL');
    assert.deepStrictEqual(await app.exited, { code: 130, signal: null });
    await client.close();
  }));

test('cluster.disconnect() is a shutdown', () =>
  withSupervised({ workers: 2 }, async (app) => {
    app.tell('disconnect');
    await app.marker('disconnected');
    app.tell('stats');
    const { processes, shuttingDown } = await app.marker('stats');
    assert.deepStrictEqual([processes, shuttingDown], [0, true]);
  }));
