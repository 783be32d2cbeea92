'use strict';

// The control socket: its answers, even while the primary's JavaScript is blocked, and its treatment of
// misbehaving clients.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { whileOneFloods } = require('../../testing/flood.js');
const { until, isAlive } = require('../../testing/processes.js');
const { withSupervised } = require('../../testing/supervised.js');
const { request } = require('../helpers/control-lines.js');

const skip = isBuiltin && 'the built-in does not supervise';

const knowsAbstractNames = Number(process.versions.node.split('.')[0]) >= 22;
const isAbstract = (/** @type {string} */ control) => control.startsWith('@');

/**
 * @param {Record<string, unknown> & { workers: number }} options
 * @param {(app: import('../../testing/supervised.js').Supervised, socket: string) => Promise<void>} body
 */
function withSocket(options, body) {
  // The fixture's directory is known to the fixture only.
  const directory = fs.mkdtempSync(path.join(require('node:os').tmpdir(), 'rcluster-control-'));
  const control = path.join(directory, 'control.sock');
  return withSupervised({ ...options, control }, (app) => body(app, control)).finally(() =>
    fs.rmSync(directory, { recursive: true }),
  );
}

/**
 * Sends text, and collects the lines that come back until the connection ends or there are as many as requested.
 * @param {string} socket
 * @param {string | Buffer} text
 * @param {number} [count]
 * @returns {Promise<any[]>}
 */
async function say(socket, text, count = Infinity) {
  const client = net.connect(socket);
  let received = '';
  client.setEncoding('utf8').on('data', (piece) => {
    received += piece;
    if (received.split('\n').length > count) client.destroy();
  });
  // The server may close the connection before everything is written.
  client.on('error', () => {});
  client.write(text);
  if (count === Infinity) client.end();
  await once(client, 'close');
  return received
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

test('a client that sends endlessly does not block the thread', { skip }, () =>
  withSocket({ workers: 1 }, async (app, control) => {
    for (const text of ['\n', '{"verb":"hello"}\n', '{"verb":"nothing"}\n']) {
      await whileOneFloods({ path: control }, '', text, async () => {
        const client = await connect({ control });
        for (let count = 0; count < 20; count++) assert.strictEqual((await client.hello()).pid, app.pid);
        client.close();
      });
    }
  }),
);

test('each verb answers, and its effect is visible in the status', { skip }, () =>
  withSocket({ workers: 2 }, async (app, control) => {
    const client = await connect({ control });
    const hello = await client.hello();
    assert.deepStrictEqual([hello.protocol, hello.pid], [1, app.pid]);
    const status = await client.status();
    assert.strictEqual(status.versions.node, process.versions.node);
    assert.ok(status.primary.memory > 1e6 && status.primary.fds > 3 && status.startedAt <= Date.now());
    assert.deepStrictEqual(
      status.slots.map(({ state }) => state),
      ['serving', 'serving'],
    );
    assert.deepStrictEqual(
      status.slots.map(({ pid }) => pid),
      app.workers.map(({ pid }) => pid),
    );
    assert.ok(status.slots.every(({ memory, bootMs, fds }) => memory > 1e6 && bootMs > 0 && fds > 3));
    assert.strictEqual(status.dispatcher.listeners[0].name, `${app.target.port}`);

    await client.scale('+1');
    assert.strictEqual((await client.status()).workers, 3);
    await client.scale(2);

    const events = [];
    await client.restart(1, { onEvent: (event) => events.push(event) });
    const restarted = (await client.status()).slots[1];
    assert.notStrictEqual(restarted.pid, app.workers[1].pid);
    assert.deepStrictEqual(
      [events[0].event, events[0].facts.by, events[0].facts.slot],
      ['retire', 'operator', 1],
    );
    assert.ok(events.some(({ event, facts }) => event === 'ready' && facts.worker === restarted.worker));
    assert.ok(
      events.every(({ facts }) => facts.slot === 1),
      'other slots are no business of this request',
    );

    // The worker that was replaced may end after the one that is drained now.
    await until('it has ended', async () => (await client.status()).draining.length === 0);
    await client.drain(1);
    const [first, drained] = (await client.status()).slots;
    assert.deepStrictEqual([first.state, drained.state, drained.pid], ['serving', 'stopped', null]);
    assert.strictEqual(drained.lastExit.detail, 'it retired (drain)');
    await assert.rejects(client.drain(0), { code: 'ERR_RCLUSTER_LAST_SLOT' });
    await assert.rejects(client.drain(1), { code: 'ERR_RCLUSTER_NO_WORKER' });
    await assert.rejects(client.restart(7), { code: 'ERR_RCLUSTER_NO_SLOT' });
    await assert.rejects(client.scale(0), { code: 'ERR_OUT_OF_RANGE' });
    await client.reload({ concurrency: 2 });
    assert.deepStrictEqual(
      (await client.status()).slots.map(({ state }) => state),
      ['serving', 'serving'],
    );
    client.close();
    await assert.rejects(client.status(), { code: 'ERR_RCLUSTER_NOT_RUNNING' });
  }),
);

test('stop drains all workers, and the primary exits with 0 and removes its socket', { skip }, () =>
  withSocket({ workers: 2 }, async (app, control) => {
    const exit = once(app.child, 'exit');
    const client = await connect({ control });
    await client.stop();
    assert.deepStrictEqual(await exit, [0, null]);
    assert.strictEqual(fs.existsSync(control), false);
    await assert.rejects(connect({ control }), { code: 'ERR_RCLUSTER_NOT_RUNNING' });
  }),
);

test('while the primary is blocked, all requests are answered', { skip }, () =>
  withSocket({ workers: 1 }, async (app, control) => {
    const client = await connect({ control });
    const events = await request(control, { id: 'events', verb: 'watch' });
    const file = app.inDirectory('go');
    app.tell('block', file);
    await app.marker('blocked');
    assert.match(await client.stack('primary'), /at block .*supervised\.js/);
    await client.reload();
    await client.scale(2);
    await client.restart(0);
    const { slots } = await client.status();
    assert.deepStrictEqual(
      slots.map(({ state }) => state),
      ['serving', 'serving'],
    );
    assert.ok(!isAlive(app.workers[0].pid) || slots[0].pid !== app.workers[0].pid);
    assert.strictEqual((await events.next()).event, 'reload');
    assert.doesNotMatch(app.output, /"unblocked"/, 'nothing of this has waited for it');
    // The stack of a worker that hangs can be captured as well.
    const hung = app.ask('hang').catch(() => {});
    const stacks = await until('a worker hangs', async () => {
      const all = await Promise.all([0, 1].map((slot) => client.stack(slot).catch(({ code }) => code)));
      return all.some((stack) => /supervised\.js/.test(stack)) && all;
    });
    assert.match(stacks.join('\n'), /at .*hang|at pages/);
    fs.writeFileSync(file, '');
    await app.marker('unblocked');
    events.close();
    await client.stop({ timeout: 0 });
    await hung;
  }),
);

test('a failure is an object with a code, and reveals nothing of the environment', { skip }, () =>
  withSocket({ workers: 1 }, async (app, control) => {
    const lines = [
      '{"id":"a","verb":"explode"}',
      'nonsense',
      '[]',
      '',
      '{"v":9,"id":2,"verb":"status"}',
      '{"id":3,"verb":"scale","workers":{}}',
      '{"id":4,"verb":"hello","more":[{}]}',
    ];
    const answers = await say(control, `${lines.join('\r\n')}\n`);
    assert.deepStrictEqual(
      answers.map(({ id, ok, error }) => [id, ok, error?.code]),
      [
        ['a', false, 'ERR_RCLUSTER_VERB'],
        [null, false, 'ERR_RCLUSTER_REQUEST'],
        [null, false, 'ERR_RCLUSTER_REQUEST'],
        [2, false, 'ERR_RCLUSTER_VERSION'],
        [3, false, 'ERR_INVALID_ARG_VALUE'],
        [4, true, undefined],
      ],
    );
    const [status] = await say(control, '{"verb":"status"}\n');
    assert.doesNotMatch(JSON.stringify(status), new RegExp(path.basename(app.directory)), 'RCLUSTER_TMP');
  }),
);

test(
  'clients that send too much, read nothing or are too many have a bounded cost, and affect no other client',
  { skip },
  () =>
    withSocket({ workers: 1 }, async (app, control) => {
      const [refused] = await say(control, Buffer.alloc(8 << 20, 'x'), 1);
      assert.strictEqual(refused.error.code, 'ERR_RCLUSTER_REQUEST');

      const memory = () =>
        Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${app.pid}/status`, 'utf8'))[1]);
      const before = memory();
      // It sends requests forever and reads nothing, so the cluster stops reading from it.
      const greedy = net.connect(control);
      greedy.on('error', () => {});
      greedy.pause();
      const request = '{"verb":"status"}\n'.repeat(1000);
      for (let sent = 0; sent < 200 && greedy.write(request); sent++);
      const tried = [];
      const crowd = Array.from({ length: 100 }, () => {
        const client = net.connect(control).on('error', () => {});
        tried.push(new Promise((resolve) => client.once('connect', resolve).once('close', resolve)));
        return client.resume();
      });
      await Promise.all(tried);
      await until('those that are too many are hung up on', () => crowd.some(({ destroyed }) => destroyed));
      const client = await connect({ control });
      const { slots } = await client.status();
      assert.strictEqual(slots[0].state, 'serving', 'whoever comes last has a place');
      assert.match(await app.ask('who'), /"slot":"0"/);
      const { primary } = await client.status();
      assert.ok(primary.fds < 200, `${primary.fds} descriptors`);
      assert.ok(memory() - before < 64 << 10, `${memory() - before} KiB more`);
      for (const other of [greedy, ...crowd]) other.destroy();
      client.close();
    }),
);

test('another user is refused, by the mode of the file and by its credentials', { skip }, async (t) => {
  if (process.getuid() !== 0) return t.skip('only root can be another user');
  await withSocket({ workers: 1 }, async (app, control) => {
    assert.strictEqual(fs.statSync(control).mode & 0o777, 0o600);
    fs.chmodSync(path.dirname(control), 0o755);
    const code = `
      const client = require('net').connect(process.argv[1]);
      client.on('error', ({ code }) => console.log(code));
      client.on('data', (data) => console.log(JSON.parse(data).error.code));
`;
    const asNobody = () =>
      spawnSync(process.execPath, ['-e', code, control], {
        uid: 65534,
        gid: 65534,
        cwd: '/',
        encoding: 'utf8',
      });
    assert.strictEqual(asNobody().stdout, 'EACCES\n');
    fs.chmodSync(control, 0o666);
    assert.match(asNobody().stdout, /^ERR_RCLUSTER_DENIED$/m);
  });
});

test(
  'by default there is a socket in the directory of the service, or of the session, or an abstract one',
  { skip },
  async () => {
    const run = (/** @type {Record<string, string>} */ env, /** @type {string} */ expected) =>
      withSupervised(
        { workers: 1 },
        async (app) => {
          const directory = app.directory;
          const control = expected.replace('DIR', directory).replace('PID', `${app.pid}`);
          if (isAbstract(control) && !knowsAbstractNames) {
            assert.match(fs.readFileSync('/proc/net/unix', 'utf8'), new RegExp(` ${control}$`, 'm'));
            await assert.rejects(connect({ control }), { code: 'ERR_RCLUSTER_UNSUPPORTED_NODE' });
            return;
          }
          const client = await connect({ control });
          assert.strictEqual((await client.hello()).pid, app.pid);
          client.close();
        },
        { env },
      );
    const name = `@rcluster/${process.getuid()}/PID`;
    await run({ RUNTIME_DIRECTORY: '', XDG_RUNTIME_DIR: '' }, name);
    await run({ RUNTIME_DIRECTORY: '/nowhere', XDG_RUNTIME_DIR: '/nowhere/else' }, name);
    const session = fs.mkdtempSync(path.join(require('node:os').tmpdir(), 'rcluster-session-'));
    try {
      await run({ RUNTIME_DIRECTORY: '', XDG_RUNTIME_DIR: session }, `${session}/rcluster/PID.sock`);
      assert.deepStrictEqual(fs.readdirSync(path.join(session, 'rcluster')), [], 'it is removed at the end');
      await run({ RUNTIME_DIRECTORY: `${session}:/other`, XDG_RUNTIME_DIR: '' }, `${session}/rcluster.sock`);
    } finally {
      fs.rmSync(session, { recursive: true });
    }
  },
);

test('a socket that cannot be created is a warning, and the cluster runs', { skip }, () =>
  withSupervised({ workers: 1, control: '/nowhere/control.sock' }, async (app) => {
    const { code, message } = await app.marker('warning');
    assert.strictEqual(code, 'RCLUSTER_CONTROL');
    assert.match(message, /\/nowhere\/control\.sock/);
    assert.match(await app.ask('who'), /"slot":"0"/);
  }),
);

test('no socket is created if the option says so', { skip }, () =>
  withSupervised({ workers: 1, control: 'off' }, async (app) => {
    const sockets = fs.readFileSync('/proc/net/unix', 'utf8');
    assert.doesNotMatch(sockets, new RegExp(`rcluster/(\\d+/)?${app.pid}\\b`));
    await assert.rejects(connect({ pid: app.pid }), { code: 'ERR_RCLUSTER_NOT_RUNNING' });
  }),
);
