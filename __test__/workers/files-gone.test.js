'use strict';

// A release is removed while its processes run. They keep working, and can also use features for the first time.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { inFolder, install, run } = require('../helpers/installed.js');

const skip = isBuiltin && 'it is about the package';

/** The worker's actions, each called by a message with its name. */
const WORKER = `
  const server = http.createServer((request, response) => response.end('served'));
  server.listen(0, '127.0.0.1');
  const deeds = {
    stream() {
      for (let number = 0; number < 100; number++) process.send({ number });
      process.send('streamed');
    },
    stickyId: () => process.send(cluster.stickyId().length > 10),
    throw() {
      throw new Error('as it is meant to be');
    },
    async share() {
      const locked = await cluster.locks.request('lock', ({ name }) => name);
      const created = await store.getOrCreate('key', () => 'created');
      const counted = await store.increment('count');
      const asked = await cluster.request('primary', 'double', 21);
      const refused = await cluster.request('primary', 'fail').catch(({ message }) => message);
      const leadership = cluster.lead('lead', ({ token }) => process.send({ locked, created, counted, asked, refused, led: token > 0 }));
      await leadership.done;
    },
    async post() {
      const answer = once(channel, 'message');
      channel.postMessage({ from: 'worker' });
      const [{ data }] = await answer;
      process.send(data);
    },
    async late() {
      const codes = [];
      const uses = [
        () => cluster.shared('store'),
        () => cluster.locks.query(),
        () => cluster.handle('name', () => {}),
        () => cluster.request('primary', 'name'),
        () => cluster.lead('name', () => {}),
        () => new cluster.BroadcastChannel('name'),
      ];
      for (const use of uses) {
        try {
          await use();
          codes.push(undefined);
        } catch ({ code }) {
          codes.push(code);
        }
      }
      process.send(codes);
    },
    retire: () => cluster.worker.retire(),
    disconnect: () => cluster.worker.disconnect(),
  };
  process.on('message', (name, handle) => {
    if (handle !== undefined) {
      handle.end('passed');
      process.send('taken');
    } else deeds[name]();
  });`;

/** The primary's code. */
const PRIMARY = `
  const remove = () => fs.rmSync(base + '/node_modules', { recursive: true });
  const found = {};
  const end = () => {
    console.log(JSON.stringify(found));
    process.exit();
  };
  const stop = (error) => {
    console.error(error);
    process.exit(1);
  };
  const answers = async (worker, name, count) => {
    let seen = 0;
    const last = new Promise((resolve) => worker.on('message', (message) => {
      if (++seen === count) resolve(message);
    }));
    worker.send(name);
    const message = await last;
    worker.removeAllListeners('message');
    return message;
  };
  const ended = async (worker, name) => {
    const exit = once(worker, 'exit');
    worker.send(name);
    return (await exit)[0];
  };
  const request = (port) => new Promise((resolve, reject) => {
    http.get({ port, host: '127.0.0.1', agent }, (response) => response.on('end', resolve).resume()).on('error', reject);
  });
  const agent = new http.Agent({ keepAlive: true });`;

/**
 * @param {string} folder
 * @param {string} main The code of the primary.
 * @param {string} [uses] What the worker does before its server listens.
 * @param {NodeJS.ProcessEnv} [env]
 */
function runApp(folder, main, uses = '', env = {}) {
  install(folder);
  const app = `
    const fs = require('node:fs');
    const cluster = require(fs.existsSync(__dirname + '/node_modules') ? 'rcluster' : 'node:cluster');
    const http = require('node:http');
    const net = require('node:net');
    const { once } = require('node:events');
    const base = ${JSON.stringify(folder)};
    if (cluster.isPrimary) {
      ${PRIMARY}
      (async () => {${main}})().then(end, stop);
    } else {
      ${uses}
      ${WORKER}
    }`;
  fs.writeFileSync(path.join(folder, 'app.js'), app);
  return run(['app.js'], { cwd: folder, env });
}

test('workers stream, take handles, drain and disconnect', { skip }, () =>
  inFolder((folder) => {
    const { found, stderr } = runApp(
      folder,
      `
      const workers = [cluster.fork(), cluster.fork(), cluster.fork()];
      const [[{ port }]] = await Promise.all(workers.map((worker) => once(worker, 'listening')));
      remove();
      const [first, second, third] = workers;
      found.streamed = await answers(first, 'stream', 101);
      for (let number = 0; number < 100; number++) second.send('stickyId');
      found.id = await answers(second, 'stickyId', 101);
      const passing = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
      await once(passing, 'listening');
      const client = net.connect(passing.address().port, '127.0.0.1').setEncoding('utf8');
      const [socket] = await once(passing, 'connection');
      third.send('a handle', socket);
      found.passed = (await once(client, 'data'))[0];
      for (let number = 0; number < 6; number++) await request(port);
      found.ends = [await ended(first, 'retire'), await ended(second, 'disconnect')];
      await request(port);
      third.retire();
      found.ends.push((await once(third, 'exit'))[0]);
      passing.close();
      `,
    );
    assert.deepStrictEqual(found, { streamed: 'streamed', id: true, passed: 'passed', ends: [0, 0, 0] });
    assert.strictEqual(stderr, '');
  }),
);

test('a supervised worker is reloaded, throws, and is shut down', { skip }, () =>
  inFolder((folder) => {
    const { found, stderr } = runApp(
      folder,
      `
      const supervisor = cluster.supervise({ workers: 1, backoff: { initial: 0 } });
      const [worker, { port }] = await once(cluster, 'listening');
      await request(port);
      remove();
      const exit = once(worker, 'exit');
      await supervisor.reload();
      found.reloaded = (await exit)[0];
      const [next] = Object.values(cluster.workers);
      const listening = once(cluster, 'listening');
      found.thrown = await ended(next, 'throw');
      await listening;
      await supervisor.shutdown();
      `,
    );
    assert.deepStrictEqual(found, { reloaded: 0, thrown: 1 });
    assert.match(stderr, /as it is meant to be/);
    assert.doesNotMatch(stderr, /Cannot find module/);
  }),
);

test('without the native part, a worker cleans up at its end', { skip }, () =>
  inFolder((folder) => {
    const { found, stderr } = runApp(
      folder,
      `
      const supervisor = cluster.supervise({ workers: 1 });
      const [worker] = await once(cluster, 'listening');
      remove();
      const cleaned = once(worker, 'message');
      const exit = once(worker, 'exit');
      await supervisor.shutdown();
      [found.cleaned] = await cleaned;
      found.code = (await exit)[0];
      `,
      "process.on('SIGTERM', () => process.send('cleaned', () => process.exit(3)));",
      { RCLUSTER_FALLBACK: '1' },
    );
    assert.deepStrictEqual(found, { cleaned: 'cleaned', code: 3 });
    assert.doesNotMatch(stderr, /Cannot find module|ENOENT/);
  }),
);

test('the primary begins to supervise, and reports its events', { skip }, () =>
  inFolder((folder) => {
    const { found } = runApp(
      folder,
      `
      await once(cluster.fork(), 'listening');
      remove();
      found.stats = cluster.schedulingStats().workers.length;
      found.forwarding = cluster.forwarding();
      try {
        cluster.schedule(() => 0);
      } catch ({ code }) {
        found.code = code;
      }
      const supervisor = cluster.supervise({ workers: 1, log: false });
      await once(cluster, 'listening');
      found.slots = supervisor.stats().slots.length;
      await supervisor.shutdown();
      `,
    );
    assert.deepStrictEqual(found, { stats: 1, forwarding: [], code: 'ERR_RCLUSTER_TOO_LATE', slots: 1 });
  }),
);

/**
 * A process that has used one of the parts can use all others for the first time.
 * @param {string} name
 * @param {string} uses
 * @param {string} deed
 * @param {unknown} expected
 */
function testShared(name, uses, deed, expected) {
  test(name, { skip }, () =>
    inFolder((folder) => {
      const { found, stderr } = runApp(
        folder,
        `
        const channel = new cluster.BroadcastChannel('channel');
        channel.onmessage = ({ data }) => channel.postMessage({ to: data.from });
        cluster.handle('double', (value) => value * 2);
        cluster.handle('fail', () => { throw new Error('refused'); });
        const worker = cluster.fork();
        await once(worker, 'listening');
        remove();
        found.answer = await answers(worker, '${deed}', 1);
        channel.close();
        `,
        uses,
      );
      assert.deepStrictEqual(found.answer, expected);
      assert.strictEqual(stderr, '');
    }),
  );
}

testShared(
  'a worker with a store requests locks and sends requests',
  "const store = cluster.shared('store');",
  'share',
  { locked: 'lock', created: 'created', counted: 1, asked: 42, refused: 'refused', led: true },
);

testShared(
  'a worker with a channel sends and receives its first messages',
  "const channel = new cluster.BroadcastChannel('channel');",
  'post',
  { to: 'worker' },
);

testShared(
  'a worker that has used none of them gets an error with a code',
  '',
  'late',
  Array(6).fill('ERR_RCLUSTER_TOO_LATE'),
);

test('files of another version are an error, too', { skip }, () =>
  inFolder((folder) => {
    const { found } = runApp(
      folder,
      `
      const worker = cluster.fork();
      await once(worker, 'listening');
      const file = base + '/node_modules/rcluster/package.json';
      fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(fs.readFileSync(file)), version: '999.0.0' }));
      found.answer = await answers(worker, 'late', 1);
      `,
    );
    assert.deepStrictEqual(found.answer, Array(6).fill('ERR_RCLUSTER_TOO_LATE'));
  }),
);

test('the primary names the server of all machines', { skip }, () =>
  inFolder((folder) => {
    const { found } = runApp(
      folder,
      `
      await once(cluster.fork(), 'listening');
      remove();
      try {
        cluster.setupPrimary({ backend: 'http://127.0.0.1' });
      } catch ({ code }) {
        found.code = code;
      }
      `,
    );
    assert.deepStrictEqual(found, { code: 'ERR_INVALID_ARG_VALUE' });
  }),
);
