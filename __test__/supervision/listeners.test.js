'use strict';

// An app that opens its servers one after the other is replaced, and no client is refused at either of them. The files of
// Unix sockets: those of a killed primary, those that workers remove, and those of a primary that is shutting down.

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { exchange, get, hold } = require('../../testing/clients.js');
const { freePorts } = require('../../testing/ports.js');
const { until } = require('../../testing/processes.js');
const { withSupervised } = require('../../testing/supervised.js');

const host = '127.0.0.1';

/** @param {(app: any, ports: number[], first: number) => Promise<void>} body */
async function withTwoServers(body) {
  const [early, late] = await freePorts(2);
  const env = { PORT: String(early), GENERATION: 'old' };
  await withFixture('supervision/later-port.js', { env }, async (app) => {
    const { id } = await app.marker('listening');
    assert.strictEqual(await app.marker('ready'), id);
    app.tell('open', { id, port: late });
    assert.strictEqual((await app.marker('listening')).port, late);
    await body(app, [early, late], id);
  });
}

/** @param {number} port */
async function answer(port) {
  const { outcome, text } = await exchange({ port, host });
  return outcome === 'answered' ? text : outcome;
}

test('during a reload, the old worker serves ports that the new one has not opened yet', () =>
  withTwoServers(async (app, [early, late]) => {
    app.tell('environment', { GENERATION: 'new' });
    app.tell('reload');
    const { id, port } = await app.marker('listening');
    assert.strictEqual(port, early);
    for (let count = 0; count < 20; count++) assert.strictEqual(await answer(late), 'old');
    app.tell('open', { id, port: late });
    await app.marker('reloaded');
    assert.strictEqual(await app.marker('ready'), id);
    for (const at of [early, late]) assert.strictEqual(await answer(at), 'new');
  }));

test('when a worker dies, clients wait for a port that its replacement opens later', () =>
  withTwoServers(async (app, [early, late], first) => {
    app.tell('environment', { GENERATION: 'new' });
    app.tell('kill', first);
    assert.strictEqual(await app.marker('exit'), first);
    const { id, port } = await app.marker('listening');
    assert.strictEqual(port, early);
    assert.strictEqual(await app.marker('ready'), id);
    const waiting = Array.from({ length: 5 }, () => answer(late));
    // The replacement serves, and no client has been refused at the other port by then.
    assert.strictEqual(await answer(early), 'old');
    app.tell('open', { id, port: late });
    assert.deepStrictEqual(await Promise.all(waiting), Array(5).fill('old'));
  }));

/** @param {import('node:test').TestContext} t */
function socketIn(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  return path.join(directory, 'app.sock');
}

test('a socket file that a killed primary has left is replaced', async (t) => {
  const socketPath = socketIn(t);
  const app = { env: { PORT: socketPath } };
  await withSupervised(
    { workers: 1 },
    async ({ pid, exited }) => {
      process.kill(pid, 'SIGKILL');
      assert.strictEqual((await exited).signal, 'SIGKILL');
    },
    app,
  );
  assert.ok(fs.existsSync(socketPath));
  await withSupervised(
    { workers: 1 },
    async () => {
      const { body } = await get({ socketPath, path: '/who' });
      assert.strictEqual(JSON.parse(body).slot, '0');
    },
    app,
  );
  assert.ok(!fs.existsSync(socketPath), 'an orderly end removes it');
});

test('while a primary waits for its workers to drain, another one starts at its path', async (t) => {
  const socketPath = socketIn(t);
  const env = { PORT: socketPath };
  await withSupervised(
    { workers: 1, drainTimeout: 60_000, shutdownTimeout: 120_000 },
    async (old) => {
      const client = hold({ path: socketPath });
      await client.connected;
      client.socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
      await client.text;
      process.kill(old.pid, 'SIGTERM');
      await old.marker('shutdown');
      await until('the file is removed', () => !fs.existsSync(socketPath));
      await withSupervised(
        { workers: 1 },
        async () => {
          await client.close();
          assert.deepStrictEqual(await old.exited, { code: 0, signal: null });
          assert.strictEqual((await get({ socketPath, path: '/who' })).status, 200);
        },
        { env },
      );
    },
    { env },
  );
});

for (const scheduling of ['round-robin', 'none']) {
  test(`clients find workers that each remove the socket file before they listen, ${scheduling}`, async (t) => {
    const socketPath = socketIn(t);
    const SCRIPT = path.join(__dirname, '..', 'fixtures', 'supervision', 'removes-file.js');
    const env = { PORT: socketPath, SCRIPT, SETTINGS: JSON.stringify({ scheduling }) };
    await withSupervised(
      { workers: 3 },
      async (app) => {
        // A worker that has just started may be busy, and is passed over. Without the primary, the last one gets all clients.
        const count = scheduling === 'round-robin' ? 3 : 1;
        const answers = async () => {
          const bodies = new Set();
          await until('all that can be reached have answered', async () => {
            bodies.add((await get({ socketPath, path: '/' })).body);
            return bodies.size === count;
          });
          return bodies;
        };
        const before = await answers();
        app.tell('reload');
        await app.marker('done');
        const after = await answers();
        assert.ok(after.isDisjointFrom?.(before) ?? [...after].every((pid) => !before.has(pid)));
      },
      { env },
    );
    assert.ok(!fs.existsSync(socketPath), 'an orderly end removes it');
  });
}
