'use strict';

// The ownership of the listeners that the primary forwards to: workers of another user, other users of the
// machine, and the lifetime of the workers' sockets.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { withForward } = require('../helpers/forward.js');
const { until } = require('../../testing/processes.js');

const NOBODY = 65_534;
const skip = process.getuid() !== 0 && 'only the superuser can start processes of others';

/** @param {number} pid */
function userOf(pid) {
  return Number(/^Uid:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
}

test('by default workers in Node have a Unix socket that no other user can reach', () =>
  withForward({}, {}, async (app) => {
    for (const { address } of app.workers) {
      assert.strictEqual(path.basename(address), '0.sock');
      assert.strictEqual(fs.statSync(path.dirname(address)).mode & 0o777, 0o700);
    }
    assert.match(await app.get('/here'), /^[12] \/here 0$/);
    const directory = path.dirname(path.dirname(app.workers[0].address));
    app.tell('stop');
    await app.exited;
    assert.ok(!fs.existsSync(directory), 'it goes with the primary');
  }));

test('a directory of sockets that is removed is created again, and listening workers are still reached', () =>
  withForward({}, { REFORK: 'yes' }, async (app) => {
    const [one, two] = app.workers;
    fs.rmSync(path.dirname(path.dirname(one.address)), { recursive: true });
    for (let count = 0; count < 4; count++) assert.match(await app.get('/gone'), /^[12] \/gone 0$/);
    process.kill(one.pid, 'SIGKILL');
    const { id, address } = await app.marker('listening');
    assert.notStrictEqual(path.dirname(path.dirname(address)), path.dirname(path.dirname(one.address)));
    process.kill(two.pid, 'SIGKILL');
    await app.marker('exit');
    const last = await app.marker('listening');
    for (let count = 0; count < 4; count++) {
      assert.match(await app.get('/new'), new RegExp(`^(${id}|${last.id}) /new 0$`));
    }
  }));

test('the directory of a killed primary is removed by the next one, but not by one beside it', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-owners-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const env = { TMPDIR: folder };
  const directories = () => fs.readdirSync(folder).filter((name) => name.startsWith('rcluster-own-'));
  await withForward({}, env, (beside) =>
    withForward({}, env, async (app) => {
      const [kept, left] = [beside, app].map(({ workers: [{ address }] }) =>
        path.basename(path.dirname(path.dirname(address))),
      );
      process.kill(app.pid, 'SIGKILL');
      await app.exited;
      assert.deepStrictEqual(new Set(directories()), new Set([kept, left]));
      await withForward({}, env, async (next) => {
        assert.ok(!directories().includes(left));
        assert.match(await beside.get('/beside'), /^[12] \/beside 0$/);
        assert.match(await next.get('/next'), /^[12] \/next 0$/);
      });
    }),
  );
});

for (const to of /** @type {const} */ (['path', 'port'])) {
  test(`workers of another user are reached by their ${to}`, { skip }, () =>
    withForward({ to }, { SETTINGS: JSON.stringify({ uid: NOBODY, gid: NOBODY }) }, async (app) => {
      for (let count = 0; count < 2; count++) app.workers.push(await app.marker('listening'));
      assert.deepStrictEqual(
        app.workers.map(({ pid }) => userOf(pid)),
        [NOBODY, NOBODY],
      );
      const ids = new Set();
      for (let count = 0; count < 6; count++) ids.add((await app.get()).split(' ')[0]);
      assert.deepStrictEqual(ids, new Set(['1', '2']));
    }),
  );
}

test('a link that a worker of another user has put in place of its socket is not followed', { skip }, () =>
  withForward(
    {},
    { SETTINGS: JSON.stringify({ uid: NOBODY, gid: NOBODY }), WORKERS: '1', WAIT: 'yes' },
    async (app) => {
      const { id, address } = await app.marker('waits');
      const secret = path.join(app.directory, 'secret.sock');
      let reached = 0;
      const server = net.createServer((socket) => {
        reached++;
        socket.end();
      });
      await new Promise((resolve) => server.listen(secret, () => resolve(undefined)));
      fs.symlinkSync(secret, address);
      const answer = app.get('/linked');
      await until('the primary has tried', async () => (await app.report()).refusals > 2);
      fs.rmSync(address);
      app.tell('listen', id);
      assert.strictEqual(await answer, `${id} /linked 0`);
      assert.strictEqual(reached, 0);
      server.close();
    },
  ),
);

/** Listens on a port, and records what it receives. */
const THIEF = `
const net = require('node:net');
process.setgid(${NOBODY});
process.setuid(${NOBODY});
net.createServer((socket) => socket.on('data', (data) => process.stdout.write('got ' + data)))
  .listen(Number(process.argv[1]), '127.0.0.1', () => process.stdout.write('listens '));
`;

test("another user's process on a worker's reserved port gets nothing", { skip }, () =>
  withForward({ to: 'port' }, { WORKERS: '1', WAIT: 'yes' }, async (app) => {
    const { id, address } = await app.marker('waits');
    const thief = spawn(process.execPath, ['-e', THIEF, address], { stdio: ['ignore', 'pipe', 'inherit'] });
    let heard = '';
    thief.stdout.setEncoding('utf8').on('data', (text) => {
      heard += text;
    });
    await until('the thief listens', () => heard !== '');
    const answer = app.get('/secret');
    const { code, message } = await app.marker('warning');
    assert.strictEqual(code, 'RCLUSTER_FOREIGN_LISTENER');
    assert.match(message, new RegExp(`user ${NOBODY} listens on port ${address}`));
    await until('the primary has tried again', async () => (await app.report()).refusals > 2);
    // Its port is free when its last thread has ended, which only the exit shows; and all that it has written is read.
    const closed = once(thief, 'close');
    thief.kill('SIGKILL');
    await closed;
    app.tell('listen', id);
    assert.strictEqual(await answer, `${id} /secret 0`);
    assert.strictEqual(heard, 'listens ');
    assert.ok(!app.marks.some(({ mark }) => mark === 'warning'), 'told once');
  }),
);
