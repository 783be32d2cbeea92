'use strict';

// Reports of a live process: a profile, its heap, its inspector, the names of its environment variables.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { once } = require('node:events');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { withSupervised } = require('../../testing/supervised.js');
const { COMMAND } = require('../helpers/command-line.js');
const { request } = require('../helpers/control-lines.js');

const skip = isBuiltin && 'the built-in does not supervise';

/**
 * @typedef {import('../../testing/supervised.js').Supervised} Supervised
 * @typedef {import('../../control').ControlClient} ControlClient
 *
 * @param {Record<string, unknown> & { workers: number }} options
 * @param {(client: ControlClient, app: Supervised, control: string) => Promise<void>} body
 * @param {import('../../testing/fixture.js').FixtureOptions} [fixtureOptions]
 */
async function withClient(options, body, fixtureOptions = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-examine-'));
  const control = path.join(directory, 'control.sock');
  const run = async (/** @type {Supervised} */ app) => {
    const client = await connect({ control });
    await body(client, app, control);
    client.close();
  };
  try {
    await withSupervised({ ...options, control }, run, fixtureOptions);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** @param {ControlClient} client @param {number | 'primary'} slot */
async function snapshotOf(client, slot) {
  const pieces = [];
  for await (const piece of client.heap(slot)) pieces.push(piece);
  return JSON.parse(`${Buffer.concat(pieces)}`);
}

/** @param {string} url of an inspector @returns {Promise<any>} the targets that it lists */
async function targetsOf(url) {
  const { hostname, port } = new URL(url);
  const [response] = await once(http.get({ hostname, port, path: '/json/list', agent: false }), 'response');
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  return JSON.parse(text);
}

test(
  'a worker returns all reports while the primary is blocked, and the primary does when it is not',
  { skip },
  () =>
    withClient({ workers: 1 }, async (client, app) => {
      const file = app.inDirectory('go');
      app.tell('block', file);
      await app.marker('blocked');

      const profile = JSON.parse(await client.profile(0, { duration: 50 }));
      assert.ok(profile.nodes.length > 0 && profile.endTime - profile.startTime >= 50_000, 'in microseconds');

      const { snapshot, nodes, strings } = await snapshotOf(client, 0);
      assert.strictEqual(nodes.length, snapshot.node_count * snapshot.meta.node_fields.length);
      assert.ok(strings.includes('IncomingMessage'), 'it is the heap of a server');

      const url = await client.inspect(0);
      assert.match(url, /^ws:\/\/127\.0\.0\.1:\d+\/[-0-9a-f]+$/);
      assert.strictEqual(await client.inspect(0), url, 'once open it stays where it is');
      assert.strictEqual((await targetsOf(url))[0].webSocketDebuggerUrl, url);
      assert.strictEqual(await client.inspect(0, { off: true }), null);
      await assert.rejects(targetsOf(url), { code: 'ECONNREFUSED' });

      const names = await client.env(0);
      assert.ok(names.includes('PATH') && names.every((name) => typeof name === 'string'));
      assert.ok(!names.some((name) => name.startsWith('RCLUSTER_LINK')), 'as the app sees them');

      await assert.rejects(client.env('primary'), { code: 'ERR_RCLUSTER_BLOCKED', message: /stack/ });
      fs.writeFileSync(file, '');
      await app.marker('unblocked');
      assert.ok((await client.env('primary')).includes('PATH'));
      assert.ok(JSON.parse(await client.profile('primary', { duration: 1 })).nodes.length > 0);
      assert.ok((await snapshotOf(client, 'primary')).strings.length > 0);
      assert.match(await client.inspect('primary'), /^ws:/);
      assert.strictEqual(await client.inspect('primary', { off: true }), null);

      const [{ pid, restarts }] = (await client.status()).slots;
      assert.deepStrictEqual([pid, restarts], [app.workers[0].pid, 0], 'it was looked into, and lives on');
      assert.match(await app.ask('who'), /"slot":"0"/);
      await app.stop();
      await app.ended();
      assert.doesNotMatch(app.output, /Warning/);
    }),
);

test('the inspector of the primary opens without those of workers, which follow a signal', { skip }, () => {
  const env = {
    SCRIPT: require.resolve('../fixtures/operations/signalled.js'),
    SETTINGS: JSON.stringify({ execArgv: [] }),
  };
  const run = async (/** @type {ControlClient} */ client, /** @type {Supervised} */ app) => {
    const told = async (/** @type {number} */ slot) => {
      // A worker handles a signal at the end of the turn in which it notices it, which may be that of this answer.
      await client.env(slot);
      return (await client.env(slot)).includes('TOLD_TO_OPEN_INSPECTOR');
    };
    const url = await client.inspect('primary');
    assert.strictEqual((await targetsOf(url))[0].webSocketDebuggerUrl, url);
    assert.deepStrictEqual(await Promise.all([told(0), told(1)]), [false, false]);
    await client.inspect('primary', { off: true });
    await assert.rejects(targetsOf(url), { code: 'ECONNREFUSED' });

    process.kill(app.pid, 'SIGUSR1');
    await until('the workers follow', async () => (await told(0)) && (await told(1)));
  };
  // For the inspector that the signal opens, any port will do.
  return withClient({ workers: 2 }, run, { env, execArgv: ['--inspect-port=0'] });
});

test('a worker whose event loop is blocked is refused, and its stack says where it is', { skip }, () =>
  withClient({ workers: 1 }, async (client, app) => {
    const hung = app.ask('hang').catch(() => {});
    await until('it hangs', () =>
      client.stack(0).then(/supervised\.js/.test.bind(/supervised\.js/), () => false),
    );
    const refused = { code: 'ERR_RCLUSTER_BLOCKED', message: /event loop is blocked/ };
    await Promise.all([
      assert.rejects(client.env(0), refused),
      assert.rejects(client.profile(0), refused),
      assert.rejects(client.inspect(0), refused),
      assert.rejects(snapshotOf(client, 0), refused),
    ]);
    assert.match(await client.stack(0), /supervised\.js/);
    await client.stop({ timeout: 0 });
    await hung;
  }),
);

test(
  'a client that disconnects ends its examination, and a dying worker ends it with an error',
  { skip },
  () =>
    withClient({ workers: 1 }, async (client, app, control) => {
      const long = await request(control, { id: 'long', verb: 'profile', slot: 0, duration: 600_000 });
      const second = () =>
        client.profile(0, { duration: 1 }).then(
          () => 'taken',
          ({ code }) => code,
        );
      assert.strictEqual(await second(), 'ERR_RCLUSTER_EXAMINATION');
      process.kill(app.workers[0].pid, 'SIGKILL');
      const { id, error } = await long.next();
      assert.deepStrictEqual([id, error.code], ['long', 'ERR_RCLUSTER_EXAMINATION']);
      assert.match(error.message, /ended/);
      long.close();

      await until('there is another one', async () => {
        const [{ state, pid }] = (await client.status()).slots;
        return state === 'serving' && pid !== app.workers[0].pid;
      });
      const heap = client.heap(0);
      await heap.next();
      await heap.return();
      await until('it can be asked again', async () => (await second()) === 'taken');
      await assert.rejects(client.env(7), { code: 'ERR_RCLUSTER_NO_SLOT' });
      await assert.rejects(client.profile(0, { duration: 1e9 }), { code: 'ERR_INVALID_ARG_VALUE' });
    }),
);

/** @param {ControlClient} client @param {number | 'primary'} slot */
async function canProfile(client, slot) {
  return client.profile(slot, { duration: 1 }).then(
    () => true,
    ({ code }) => assert.strictEqual(code, 'ERR_RCLUSTER_EXAMINATION'),
  );
}

test('a profile ends with its client, to which nothing is being written', { skip }, () =>
  withClient({ workers: 1 }, async (client, _app, control) => {
    for (const slot of /** @type {const} */ ([0, 'primary'])) {
      const long = await request(control, { id: 'long', verb: 'profile', slot, duration: 600_000 });
      assert.ok(!(await canProfile(client, slot)), 'it is being taken');
      long.close();
      await until('another can be taken', () => canProfile(client, slot));
    }
  }),
);

test('a client that has only shut down writing gets its profile', { skip }, () =>
  withClient({ workers: 1 }, async (_client, _app, control) => {
    const socket = net.connect(control);
    socket.end('{"id":"half","verb":"profile","slot":0,"duration":300}\n');
    let text = '';
    for await (const piece of socket.setEncoding('utf8')) text += piece;
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const profile = lines.slice(0, -1).map(({ facts }) => Buffer.from(facts.base64, 'base64'));
    assert.ok(JSON.parse(`${Buffer.concat(profile)}`).nodes.length > 0);
    assert.deepStrictEqual([lines.at(-1).id, lines.at(-1).ok], ['half', true]);
  }),
);

test('a signal to the command leaves neither an incomplete file nor its profile behind', { skip }, () =>
  withClient({ workers: 1 }, async (client, app, control) => {
    const folder = app.inDirectory('profiles');
    fs.mkdirSync(folder);
    const args = ['profile', '0', '10m', '-o', path.join(folder, 'a.cpuprofile'), '--control', control];
    const command = spawn(process.execPath, [COMMAND, ...args], { stdio: 'ignore' });
    const exit = once(command, 'exit');
    await until('it has begun', () => fs.readdirSync(folder).length === 1);
    command.kill('SIGINT');
    assert.deepStrictEqual([await exit, fs.readdirSync(folder)], [[130, null], []]);
    await until('another can be taken', () => canProfile(client, 0));
  }),
);
