'use strict';

// Without the native part, too, a drained worker ends although something keeps its event loop alive, and every server of a
// worker counts.

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
const { isAlive, until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';
const SCRIPT = path.join(__dirname, '..', 'fixtures', 'supervision', 'ending-worker.js');
const [major, minor] = process.versions.node.split('.').map(Number);
const hasReusePort = major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12);

const OPTIONS = { workers: 1, drainTimeout: 60_000, killTimeout: 60_000 };

test('timers and idle connections keep no drained worker alive', { skip }, async (t) => {
  const pool = net.createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  t.after(() => pool.close());
  await once(pool, 'listening');
  await withFallback(
    OPTIONS,
    async (app) => {
      process.kill(app.pid, 'SIGTERM');
      assert.strictEqual((await app.marker('exit')).code, 0);
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    },
    { env: { SCRIPT, KEPT: 'interval pool', POOL: `${pool.address().port}` } },
  );
});

test('the worker waits for promises of retire listeners, and for beforeExit', { skip }, () =>
  withFallback(
    OPTIONS,
    async (app) => {
      process.kill(app.pid, 'SIGTERM');
      await app.marker('draining');
      fs.writeFileSync(app.inDirectory('go on'), '');
      await app.exited;
      assert.ok(fs.existsSync(app.inDirectory('flushed')));
      assert.ok(fs.existsSync(app.inDirectory('before exit')));
    },
    { env: { SCRIPT, KEPT: 'promise interval beforeExit' } },
  ),
);

test('work that a request has begun is finished, even after its answer', { skip }, async (t) => {
  const other = http.createServer().listen(0, '127.0.0.1');
  t.after(() => other.close());
  await once(other, 'listening');
  await withFallback(
    OPTIONS,
    async (app) => {
      const asked = once(other, 'request');
      await get({ ...app.target, path: '/tell' });
      const [, response] = await asked;
      process.kill(app.pid, 'SIGTERM');
      await app.marker('draining');
      // Longer than the grace period for unknown work.
      setTimeout(() => response.end(), 1500);
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
      assert.ok(fs.existsSync(app.inDirectory('told')));
    },
    { env: { SCRIPT, KEPT: 'interval', POOL: `${other.address().port}` } },
  );
});

test('a worker that listens and is not ready yet finishes its pending work', { skip }, () =>
  withFallback(
    { ...OPTIONS, ready: 'explicit' },
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
    { env: { SCRIPT } },
  ),
);

for (const by of ['the worker', 'the primary']) {
  test(`disconnect() by ${by} is a drain with a limit, and its successor starts at once`, { skip }, () =>
    withFallback({ ...OPTIONS, drainTimeout: 500 }, async (app) => {
      const [{ id }] = app.workers;
      const client = hold(app.target);
      client.socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
      await client.text;
      app.tell(by === 'the worker' ? 'say disconnect' : 'disconnect worker', id);
      const { worker, reason } = await app.marker('retire');
      assert.deepStrictEqual([worker, reason], [id, 'disconnect']);
      assert.strictEqual((await app.marker('draining')).reason, 'disconnect');
      assert.strictEqual((await app.marker('drain-timeout')).worker, id);
      const { code, exitedAfterDisconnect } = await app.marker('exit');
      assert.deepStrictEqual([code, exitedAfterDisconnect], [143, true]);
      assert.strictEqual((await app.marker('listening')).slot, 0);
      await client.close();
    }),
  );
}

test('the statistics say why a worker has drained', { skip }, () =>
  withFallback(OPTIONS, async (app) => {
    app.tell('reload');
    await app.marker('done');
    await app.marker('exit');
    app.tell('stats');
    assert.strictEqual((await app.marker('stats')).slots[0].lastExit.detail, 'it retired (reload)');
  }),
);

test('a worker that has drained and has work left ends at SIGTERM', { skip }, async (t) => {
  const other = http.createServer().listen(0, '127.0.0.1');
  t.after(() => other.close());
  await once(other, 'listening');
  await withFallback(
    OPTIONS,
    async (app) => {
      const asked = once(other, 'request');
      await get({ ...app.target, path: '/tell' });
      const [, response] = await asked;
      const [{ id, pid }] = app.workers;
      app.tell('say disconnect', id);
      assert.strictEqual((await app.marker('left')).id, id);
      process.kill(pid, 'SIGTERM');
      const exit = await app.marker('exit');
      assert.deepStrictEqual([exit.id, exit.code], [id, 143]);
      response.end();
    },
    { env: { SCRIPT, KEPT: 'leave', POOL: `${other.address().port}` } },
  );
});

test('a worker that drains when its primary dies ends at its deadline', { skip }, () =>
  withFallback({ ...OPTIONS, drainTimeout: 1000 }, async (app) => {
    const [{ id, pid }] = app.workers;
    const client = hold(app.target);
    client.socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.text;
    app.tell('say disconnect', id);
    await app.marker('draining');
    process.kill(app.pid, 'SIGKILL');
    await until('it has ended', () => !isAlive(pid));
    await client.close();
  }),
);

for (const server of ['exclusive', 'reusePort', 'handle']) {
  const unknown = server === 'reusePort' && !hasReusePort && 'this Node knows no reusePort';
  test(
    `a server outside of the cluster makes a worker ready, and is closed by a drain: ${server}`,
    { skip: skip || unknown },
    () => isClosedByDrain(withFallback, OPTIONS, server),
  );
}

for (const how of ['exclusive', 'reusePort']) {
  const unknown = how === 'reusePort' && !hasReusePort && 'this Node knows no reusePort';
  test(
    `a UDP socket of its own makes a worker ready, and is closed by a drain: ${how}`,
    { skip: skip || unknown },
    async () => {
      const [port] = await freePorts(1);
      await withFallback(
        OPTIONS,
        async (app) => {
          await app.marker('ready');
          const client = dgram.createSocket('udp4');
          client.send('hello', port, '127.0.0.1');
          assert.strictEqual(String((await once(client, 'message'))[0]), 'hello');
          client.close();
          process.kill(app.pid, 'SIGTERM');
          assert.strictEqual((await app.marker('exit')).code, 0);
          assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
        },
        { env: { SCRIPT, SERVER: `udp ${how}`, PORT: `${port}` }, listen: false },
      );
    },
  );
}
