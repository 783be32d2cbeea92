'use strict';

// An operator learns that a store cannot use its server: by a warning, by the status and by the metrics.

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { until } = require('../../testing/processes.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withSupervised } = require('../../testing/supervised.js');

const skip = isBuiltin ? 'the built-in has no shared stores' : withoutRedis;

test('a lost server is told of once, and is seen until it is back', { skip }, async (t) => {
  const server = await startRedis();
  t.after(() => server.close());
  const control = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-')), 'control');
  t.after(() => fs.rmSync(path.dirname(control), { recursive: true }));
  await withSupervised({ workers: 1, control }, async (app) => {
    const backend = `redis+unix://${server.path}`;
    app.tell('share', { name: 'flags', options: { backend }, key: 'a', value: 1 });
    await app.marker('done');
    // Node 20 connects to files only.
    const client = await connect({ control });
    t.after(() => client.close());
    const state = async () => (await client.status()).stores.find(({ name }) => name === 'flags').backend;
    const metric = async () =>
      /rcluster_store_connected\{store="flags"\} (\d)/.exec(await client.metrics())?.[1];
    assert.deepStrictEqual([(await state()).state, await metric()], ['following', '1']);

    await server.kill();
    const { code, message } = await app.marker('warning');
    assert.strictEqual(code, 'RCLUSTER_BACKEND');
    assert.match(message, /"flags" cannot use its server redis\+unix:\/\/\/.*: \S/);
    await until('its state is known', async () => (await state()).state === 'offline');
    assert.strictEqual(await metric(), '0');
    await until('an attempt has failed', async () => (await state()).error !== null);

    await server.restart();
    await until('it is back', async () => (await state()).state === 'following');
    assert.strictEqual(await metric(), '1');
    assert.ok(!app.marks.some(({ mark }) => mark === 'warning'), 'there is no second warning');
  });
});
