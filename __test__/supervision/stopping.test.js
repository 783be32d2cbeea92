'use strict';

// How a cluster stops as service managers stop it, with the features of real programs: libraries that listen for signals,
// timers and pools that never end, servers with sockets of their own.

const assert = require('node:assert');
const dgram = require('node:dgram');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { isClosedByDrain } = require('../helpers/drained-server.js');
const { get, hold } = require('../../testing/clients.js');
const { freePorts } = require('../../testing/ports.js');
const { withSupervised } = require('../../testing/supervised.js');
const { ORDERS, stopUnderLoad } = require('./group-stop/scenario.js');

const WORKER = path.join(__dirname, '..', 'fixtures', 'supervision', 'ending-worker.js');
const LIBRARY = path.join(__dirname, '..', 'fixtures', 'supervision', 'signal-library.js');
const [major, minor] = process.versions.node.split('.').map(Number);
const hasReusePort = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);

for (const order of Object.keys(ORDERS)) {
  test(`under load, order of the signals: ${order}`, async () => {
    const { answered, ...rest } = await stopUnderLoad({ order, takes: 300, clients: 6 });
    assert.deepStrictEqual(rest, { cut: [], code: 0, signal: null });
    assert.ok(answered > 0);
  });
}

test('the time of a drain is limited, even after an external SIGTERM', () =>
  withSupervised({ workers: 1, drainTimeout: 700, killTimeout: 60_000 }, async (app) => {
    const client = hold(app.target);
    client.socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.text;
    process.kill(-app.pid, 'SIGTERM');
    await app.marker('drain-timeout');
    assert.strictEqual((await app.marker('exit')).code, 143);
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    await client.close();
  }));

for (const library of [
  'once',
  'itself',
  'all',
  'alone',
  'passive',
  'late once',
  'exit',
  'soon exit',
  'late exit',
]) {
  const env = { LIBRARY: library };
  const execArgv = ['-r', LIBRARY];
  for (const whole of [true, false]) {
    test(`a library at SIGTERM to ${whole ? 'the group' : 'the primary'}: ${library}`, () =>
      withSupervised(
        { workers: 1 },
        async (app) => {
          const request = get({ ...app.target, path: '/slow' });
          await app.marker('asked');
          process.kill(whole ? -app.pid : app.pid, 'SIGTERM');
          await app.marker('draining');
          process.kill(app.workers[0].pid, 'SIGUSR2');
          assert.strictEqual((await request).body, 'slow');
          assert.strictEqual((await app.marker('exit')).code, 0);
          assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
        },
        { env: { ...env, SCRIPT: WORKER }, execArgv },
      ));
  }

  test(`a library at SIGTERM to a worker: ${library}`, () =>
    withSupervised(
      { workers: 1 },
      async (app) => {
        const request = get({ ...app.target, path: '/slow' });
        await app.marker('asked');
        process.kill(app.workers[0].pid, 'SIGTERM');
        assert.strictEqual((await app.marker('retire')).reason, 'SIGTERM');
        await app.marker('draining');
        process.kill(app.workers[0].pid, 'SIGUSR2');
        assert.strictEqual((await request).body, 'slow');
        assert.strictEqual((await app.marker('exit')).code, 0);
      },
      { env: { ...env, SCRIPT: WORKER }, execArgv },
    ));
}

test('a worker that listens and is not ready yet also finishes its pending work', () =>
  withSupervised(
    { workers: 1, ready: 'explicit', killTimeout: 60_000 },
    async (app) => {
      const request = get({ ...app.target, path: '/slow' });
      await app.marker('asked');
      process.kill(-app.pid, 'SIGTERM');
      await app.marker('draining');
      process.kill(app.workers[0].pid, 'SIGUSR2');
      assert.strictEqual((await request).body, 'slow');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
      assert.strictEqual((await app.marker('exit')).code, 0);
    },
    { env: { SCRIPT: WORKER } },
  ));

test('timers and idle connections keep no drained worker alive, and are reported', async (t) => {
  const pool = net.createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  t.after(() => pool.close());
  await once(pool, 'listening');
  const env = { SCRIPT: WORKER, KEPT: 'interval pool output', POOL: `${pool.address().port}` };
  await withSupervised(
    { workers: 1, drainTimeout: 60_000 },
    async (app) => {
      const connected = get(app.target);
      await connected;
      process.kill(app.pid, 'SIGTERM');
      const { worker, resources } = await app.marker('drained');
      assert.strictEqual(worker, app.workers[0].id);
      assert.ok(resources.Timeout >= 1 && resources.TCPSocketWrap >= 1, JSON.stringify(resources));
      assert.strictEqual(resources.PipeWrap, undefined, 'stdout and stderr keep nothing alive');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
      assert.strictEqual((await app.marker('exit')).code, 0);
    },
    { env },
  );
});

test('the worker waits for promises of retire listeners, and for beforeExit', () =>
  withSupervised(
    { workers: 1, drainTimeout: 60_000 },
    async (app) => {
      process.kill(app.pid, 'SIGTERM');
      await app.marker('draining');
      assert.ok(!app.marks.some(({ mark }) => mark === 'drained'));
      fs.writeFileSync(app.inDirectory('go on'), '');
      await app.exited;
      assert.ok(fs.existsSync(app.inDirectory('flushed')));
      assert.ok(fs.existsSync(app.inDirectory('before exit')));
    },
    { env: { SCRIPT: WORKER, KEPT: 'promise interval beforeExit' } },
  ));

test('work that a request has begun is finished, even after its answer', async (t) => {
  const other = http.createServer().listen(0, '127.0.0.1');
  t.after(() => other.close());
  await once(other, 'listening');
  await withSupervised(
    { workers: 1, drainTimeout: 60_000 },
    async (app) => {
      const asked = once(other, 'request');
      await get({ ...app.target, path: '/tell' });
      await get({ ...app.target, path: '/write' });
      const [, response] = await asked;
      process.kill(app.pid, 'SIGTERM');
      await app.marker('drained');
      // Longer than the grace period for unknown work.
      setTimeout(() => response.end(), 1500);
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
      assert.ok(fs.existsSync(app.inDirectory('told')));
      assert.ok(fs.existsSync(app.inDirectory('complete')));
    },
    { env: { SCRIPT: WORKER, KEPT: 'interval', POOL: `${other.address().port}` } },
  );
});

test('after SIGTERM the cluster serves for shutdownDelay, even if all processes have received it', () =>
  withSupervised({ workers: 2, shutdownDelay: 60_000 }, async (app) => {
    process.kill(-app.pid, 'SIGTERM');
    assert.deepStrictEqual(await app.marker('stopping'), { signal: 'SIGTERM', delay: 60_000 });
    app.tell('stats');
    const { stopping, shuttingDown, ready } = await app.marker('stats');
    assert.deepStrictEqual([stopping, shuttingDown, ready], [true, false, 2]);
    app.tell('reload');
    assert.strictEqual((await app.marker('failed')).code, 'ERR_RCLUSTER_SHUT_DOWN');
    await app.who();
    // Another signal ends the delay.
    process.kill(app.pid, 'SIGINT');
    await app.marker('shutdown');
    assert.deepStrictEqual(await app.ended(), { code: 0, signal: null });
    assert.ok(!app.marks.some(({ mark }) => mark === 'retire' || mark === 'restart'));
  }));

test('a delay ends by itself', () =>
  withSupervised({ workers: 1, shutdownDelay: 50 }, async (app) => {
    process.kill(app.pid, 'SIGTERM');
    await app.marker('stopping');
    await app.marker('shutdown');
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
  }));

for (const server of ['exclusive', 'reusePort', 'handle']) {
  const skip = server === 'reusePort' && !hasReusePort && 'this Node knows no reusePort';
  test(
    `a server outside of the cluster makes a worker ready, and is closed by a drain: ${server}`,
    { skip },
    () => isClosedByDrain(withSupervised, { workers: 1, drainTimeout: 60_000 }, server),
  );
}

for (const how of ['exclusive', 'reusePort']) {
  const skip = how === 'reusePort' && !hasReusePort && 'this Node knows no reusePort';
  test(
    `a UDP socket of its own makes a worker ready, and is closed by a drain: ${how}`,
    { skip },
    async () => {
      const [port] = await freePorts(1);
      await withSupervised(
        { workers: 1, drainTimeout: 60_000 },
        async (app) => {
          await app.marker('ready');
          const client = dgram.createSocket('udp4');
          client.send('hello', port, '127.0.0.1');
          assert.strictEqual(String((await once(client, 'message'))[0]), 'hello');
          client.close();
          process.kill(app.pid, 'SIGTERM');
          await app.marker('drained');
          assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
        },
        { env: { SCRIPT: WORKER, SERVER: `udp ${how}`, PORT: `${port}` }, listen: false },
      );
    },
  );
}
