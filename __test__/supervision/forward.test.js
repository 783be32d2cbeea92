'use strict';

// Supervised workers on ports of their own, behind one of the primary's.

const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const { test } = require('node:test');
const { withSupervised } = require('../../testing/supervised.js');
const { pythonServer, withoutPython } = require('../helpers/python.js');
const { HttpLoad } = require('../../testing/http-load.js');
const { get, exchange, hold } = require('../../testing/clients.js');
const { isAlive, until } = require('../../testing/processes.js');

/**
 * @param {Record<string, unknown> & { workers: number }} options of supervise()
 * @param {(app: import('../../testing/supervised.js').Supervised & { report(): Promise<any> }) => Promise<void>} body
 * @param {object} [settings] of setupPrimary()
 * @param {{ descriptors?: number }} [limits]
 */
function withForwarded(options, body, settings = {}, limits = {}) {
  const all = { forward: { port: 0, host: '127.0.0.1' }, ...settings };
  // Programs that are not Node do not report that they listen.
  const env = { SETTINGS: JSON.stringify(all) };
  const fixtureOptions = { env, listen: !('execPath' in settings), ...limits };
  return withSupervised(
    options,
    async (app) => {
      app.report = async () => {
        app.tell('forwarding');
        return (await app.marker('forwarding'))[0];
      };
      const { address } = await app.report();
      app.target = { port: address.port, host: address.address };
      return body(app);
    },
    fixtureOptions,
  );
}

test('each worker has an address of its own, and so has its replacement', () =>
  withForwarded({ workers: 2 }, async (app) => {
    const ids = async () => new Set((await app.report()).workers.map(({ id }) => id));
    assert.deepStrictEqual(await ids(), new Set([1, 2]));
    process.kill(app.workers[0].pid, 'SIGKILL');
    const { id, slot, port } = await app.marker('listening');
    assert.deepStrictEqual([id, slot], [3, app.workers[0].slot]);
    assert.notStrictEqual(port, app.target.port);
    const other = app.workers[1 - slot].id;
    assert.deepStrictEqual(await ids(), new Set([other, 3]));
    const pids = new Set();
    await until('both answer', async () => pids.add((await app.who()).pid).size === 2);
  }));

test('while the primary is blocked, killed workers are replaced, and clients are served', () =>
  withForwarded({ workers: 2 }, async (app) => {
    const file = app.inDirectory('go on');
    app.tell('block', file);
    await app.marker('blocked');
    for (const { pid } of app.workers) process.kill(pid, 'SIGKILL');
    const pids = new Set();
    await until('both are replaced', async () => {
      // A client that was forwarded to a worker at the moment of its death is lost with it.
      const { pid } = await app.who().catch(() => ({ pid: undefined }));
      if (pid !== undefined && app.workers.every((worker) => worker.pid !== pid)) pids.add(pid);
      return pids.size === 2;
    });
    // From then on, no client fails.
    const load = new HttpLoad(app.target, { rate: 100 });
    await load.answers(50);
    assert.deepStrictEqual(await load.stop(), {});
    assert.ok(!app.marks.some(({ mark }) => mark === 'unblocked'));
    fs.writeFileSync(file, '');
    await app.marker('unblocked');
    const adopted = [await app.marker('listening'), await app.marker('listening')];
    assert.deepStrictEqual(new Set(adopted.map(({ pid }) => pid)), pids);
  }));

test('a reload under load: no request fails', (t) =>
  withForwarded({ workers: 2 }, async (app) => {
    const load = new HttpLoad(app.target, { rate: 100 });
    for (const round of [1, 2]) {
      app.tell('reload');
      await app.marker('done');
      await load.answers(20 * round);
    }
    for (let count = 0; count < 4; count++) {
      const { code, exitedAfterDisconnect } = await app.marker('exit');
      assert.deepStrictEqual([code, exitedAfterDisconnect], [0, true]);
    }
    assert.deepStrictEqual(await load.stop(), {});
    t.diagnostic(`${load.answered} requests`);
  }));

for (const to of /** @type {const} */ (['port', 'path'])) {
  test(`a client in the backlog of a worker's own ${to} when it is replaced is served by it`, () =>
    withForwarded(
      { workers: 1 },
      async (app) => {
        const [{ pid }] = app.workers;
        process.kill(pid, 'SIGSTOP');
        const COUNT = 100;
        // Once it has sent its request, each client stays with the worker in whose backlog it waits.
        const request = 'GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
        const clients = Array.from({ length: COUNT }, () => exchange(app.target, request));
        await until('all are in the backlog', async () => {
          const { workers, waiting } = await app.report();
          return waiting === 0 && workers[0].connections === COUNT;
        });
        app.tell('reload');
        await app.marker('listening');
        process.kill(pid, 'SIGCONT');
        for (const client of clients) {
          const { outcome, text } = await client;
          assert.strictEqual(outcome, 'answered');
          assert.match(text, new RegExp(`"pid":${pid}`));
        }
        await app.marker('done');
      },
      { forward: { port: 0, host: '127.0.0.1', to } },
    ));
}

test('a pending answer of a draining worker is the last on its connection, and arrives', () =>
  withForwarded({ workers: 1 }, async (app) => {
    // A request whose end has not arrived yet: its answer is pending at the drain.
    const client = hold(app.target);
    client.socket.write('GET /who HTTP/1.1\r\nHost: x\r\n');
    await until('it is at the worker', async () => (await app.report()).workers[0].connections === 1);
    app.tell('retire', { slot: 0, reason: 'tired' });
    await app.marker('retire');
    assert.strictEqual((await app.marker('listening')).slot, 0);
    client.socket.write('\r\n');
    const text = await client.text;
    assert.match(text, /Connection: close/);
    assert.match(text, new RegExp(`"pid":${app.workers[0].pid}`));
    assert.strictEqual((await app.marker('exit')).code, 0);
  }));

test('with the policy sticky clients stay with their slot', () =>
  withForwarded(
    { workers: 3 },
    async (app) => {
      const homes = async () => {
        const slots = [];
        for (let n = 1; n <= 12; n++) {
          const { body } = await get({ ...app.target, path: '/who', localAddress: `127.0.8.${n}` });
          slots.push(JSON.parse(body).slot);
        }
        return slots;
      };
      const before = await homes();
      assert.ok(new Set(before).size > 1, 'they are not all in one slot');
      app.tell('reload');
      await app.marker('done');
      await until('the old ones are out', async () => (await app.report()).workers.length === 3);
      assert.deepStrictEqual(await homes(), before);
    },
    { forward: { port: 0, host: '127.0.0.1', policy: 'sticky' } },
  ));

test('any number of clients leaves room for replacing a worker', () =>
  withForwarded(
    { workers: 2 },
    async (app) => {
      const clients = Array.from({ length: 300 }, () => {
        const socket = net.connect(app.target);
        // Clients whose worker is killed may get an error.
        return socket.on('error', () => {});
      });
      assert.strictEqual((await app.marker('warning')).code, 'RCLUSTER_EXHAUSTED');
      for (const { pid, slot } of app.workers) {
        process.kill(pid, 'SIGKILL');
        assert.strictEqual((await app.marker('listening')).slot, slot);
      }
      // The descriptors beyond that are for clients. Those of a killed worker are gone, and others are accepted from the
      // backlog at the next attempt to accept.
      await until('clients are served again', async () => (await app.report()).connections > 20);
      for (const client of clients) client.destroy();
      const pids = new Set(app.workers.map(({ pid }) => pid));
      for (let count = 0; count < 4; count++) assert.ok(!pids.has((await app.who()).pid));
    },
    {},
    { descriptors: 200 },
  ));

test('a standby gets no client before it is promoted', () =>
  withForwarded({ workers: 1, standby: 1 }, async (app) => {
    await until('the standby is ready', async () => {
      app.tell('stats');
      return (await app.marker('stats')).standby.ready === 1;
    });
    const [worker] = app.workers;
    const { workers } = await app.report();
    assert.deepStrictEqual(
      workers.map(({ id }) => id),
      [worker.id],
    );
    for (let count = 0; count < 6; count++) assert.strictEqual((await app.who()).pid, worker.pid);
    process.kill(worker.pid, 'SIGKILL');
    const promoted = await app.marker('promote');
    assert.strictEqual(promoted.slot, 0);
    assert.strictEqual((await app.who()).id, promoted.worker);
  }));

test('a blocked worker is replaced, and others get its clients that have sent nothing', () =>
  withForwarded({ workers: 2, unresponsiveAfter: 300 }, async (app) => {
    const lost = exchange(app.target, 'GET /hang HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('one of them is blocked', () => fs.existsSync(app.inDirectory('hung')));
    const clients = Array.from({ length: 6 }, () => hold(app.target));
    const { worker } = await app.marker('unresponsive');
    await until('it is gone', async () => (await app.marker('exit')).id === worker);
    for (const { socket, text } of clients) {
      socket.write('GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      assert.doesNotMatch(await text, new RegExp(`"id":${worker},`));
    }
    assert.strictEqual((await lost).outcome, 'closed');
  }));

test('at a shutdown, clients that are connected are served, and later ones refused', () =>
  withForwarded({ workers: 1, drainTimeout: 60_000, shutdownTimeout: 120_000 }, async (app) => {
    const [{ pid }] = app.workers;
    process.kill(pid, 'SIGSTOP');
    const request = 'GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';
    const clients = Array.from({ length: 100 }, () => exchange(app.target, request));
    await Promise.all(clients.map((client) => client.connected));
    process.kill(app.pid, 'SIGTERM');
    await app.marker('shutdown');
    await until('the port is closed', async () => {
      const late = hold(app.target);
      return late.connected.then(
        () => late.close().then(() => false),
        (error) => error.code === 'ECONNREFUSED',
      );
    });
    process.kill(pid, 'SIGCONT');
    const outcomes = (await Promise.all(clients)).map(({ outcome }) => outcome);
    assert.deepStrictEqual(
      outcomes.filter((outcome) => outcome !== 'answered'),
      [],
    );
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
  }));

test('at a shutdown, a client that has connected and sends its request later is answered', () =>
  withForwarded({ workers: 1, drainTimeout: 60_000, shutdownTimeout: 120_000 }, async (app) => {
    const client = hold(app.target);
    await client.connected;
    await until(
      'it is connected to the worker',
      async () => (await app.report()).workers[0].connections === 1,
    );
    process.kill(app.pid, 'SIGTERM');
    await app.marker('draining');
    client.socket.write('GET /who HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.match(await client.text, /^HTTP\/1.1 200 .*Connection: close/s);
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
  }));

test('a program that is Node, but is started as any other, listens on the port of its own', () => {
  const server =
    "require('node:http').createServer((request, response) => response.end(String(process.connected))).listen(process.env.PORT)";
  const settings = { execPath: process.execPath, execArgv: ['-e'], exec: server, args: [] };
  return withForwarded(
    { workers: 1 },
    async (app) => {
      assert.strictEqual((await get(app.target)).body, 'true');
    },
    settings,
  );
});

test('programs that are not Node are restarted, reloaded and drained', { skip: withoutPython }, () =>
  withForwarded(
    { workers: 2 },
    async (app) => {
      const ready = async () => (await app.marker('ready')).pid;
      const before = [await ready(), await ready()];
      const answers = async () => parseInt((await get({ ...app.target, path: '/' })).body, 10);
      const seen = new Set();
      await until('both answer', async () => seen.add(await answers()).size === 2);
      assert.deepStrictEqual(seen, new Set(before));
      process.kill(before[0], 'SIGKILL');
      assert.strictEqual((await app.marker('exit')).signal, 'SIGKILL');
      const replaced = await ready();
      app.tell('reload');
      await app.marker('done');
      const after = [await ready(), await ready()];
      for (const pid of [before[1], replaced]) await until('the old ones go', () => !isAlive(pid));
      seen.clear();
      await until('both new ones answer', async () => seen.add(await answers()).size === 2);
      assert.deepStrictEqual(seen, new Set(after));
      app.tell('shutdown');
      await app.marker('done');
      for (const pid of after) assert.ok(!isAlive(pid));
    },
    pythonServer,
  ),
);

test('options that programs other than Node cannot support are refused', () => {
  const { createPrimary } = require('../../lib/primary');
  const { EventEmitter } = require('node:events');
  const primary = createPrimary(new EventEmitter());
  primary.setupPrimary({ forward: { port: 0, host: '127.0.0.1' }, execPath: 'python3' });
  for (const options of [{ ready: 'explicit' }, { unresponsiveAfter: 1000 }]) {
    assert.throws(() => primary.supervise(/** @type {any} */ (options)), { code: 'ERR_INVALID_ARG_VALUE' });
  }
});
