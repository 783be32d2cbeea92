'use strict';

// The status document: what the native threads know about the primary, the workers' event loops and the
// listeners.

const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { withSupervised } = require('../../testing/supervised.js');

const skip = isBuiltin && 'the built-in does not supervise';

/**
 * @param {Record<string, unknown> & { workers: number }} options
 * @param {(app: import('../../testing/supervised.js').Supervised, client: import('../../control.js').ControlClient) => Promise<void>} body
 * @param {import('../../testing/fixture.js').FixtureOptions} [fixtureOptions]
 */
async function withStatus(options, body, fixtureOptions) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-status-'));
  const control = path.join(directory, 'control.sock');
  try {
    await withSupervised(
      { ...options, control },
      async (app) => {
        const client = await connect({ control });
        await body(app, client).finally(() => client.close());
      },
      fixtureOptions,
    );
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

test('how long the primary has been blocked is known while it is blocked', { skip }, () =>
  withStatus({ workers: 1 }, async (app, client) => {
    const blocked = async () => (await client.status()).primary.blockedMs;
    assert.strictEqual(typeof (await blocked()), 'number');
    const file = app.inDirectory('go');
    app.tell('block', file);
    await app.marker('blocked');
    const first = await until('it is blocked', async () => {
      const ms = await blocked();
      return ms > 300 && ms;
    });
    await until('it is blocked for longer', async () => (await blocked()) > first);
    fs.writeFileSync(file, '');
    await app.marker('unblocked');
    await until('it waits for events', async () => (await blocked()) < 300);
  }),
);

test('a worker reports the activity of its event loop, and how long events wait', { skip }, () =>
  withStatus({ workers: 1 }, async (app, client) => {
    const look = async () => (await client.status()).slots[0];
    const before = await until('it has turned', async () => {
      const slot = await look();
      return slot.delayP99Ms !== null && slot;
    });
    assert.ok(before.elu > 0 && before.elu <= 1, `${before.elu}`);
    // More than one turn in a hundred; the last one may not have ended yet.
    const after = await until('the delay is seen', async () => {
      await app.ask('busy/60');
      const slot = await look();
      return slot.delayP99Ms >= 60 && slot.busy - before.busy >= 600 && slot;
    });
    assert.ok(after.elu > 0.06 && after.elu <= 1, `${after.elu}`);
  }),
);

test('a blocked worker is shown as blocked, if workers are watched', { skip }, () =>
  withStatus({ workers: 1, unresponsiveAfter: 60_000 }, async (app, client) => {
    const look = async () => (await client.status()).slots[0];
    await until('it is watched', async () => typeof (await look()).blockedMs === 'number');
    const hung = app.ask('hang').catch(() => {});
    await until('it is blocked', async () => (await look()).blockedMs > 200);
    app.child.kill('SIGKILL');
    await hung;
  }),
);

test('a worker in an endless loop is shown as blocked, without clients and without a limit', { skip }, () =>
  withStatus({ workers: 2 }, async (app, client) => {
    const look = async () => (await client.status()).slots.map(({ blocked }) => blocked).sort();
    assert.deepStrictEqual(await look(), [false, false]);
    const hung = app.ask('hang').catch(() => {});
    // The other one is idle.
    await until('one is blocked', async () => (await look())[1]);
    assert.deepStrictEqual(await look(), [false, true]);
    app.child.kill('SIGKILL');
    await hung;
  }),
);

test('each reload is a generation', { skip }, () =>
  withStatus({ workers: 2 }, async (app, client) => {
    const generations = async () => {
      const { generation, slots } = await client.status();
      return [generation, ...slots.map((slot) => slot.generation)];
    };
    assert.deepStrictEqual(await generations(), [1, 1, 1]);
    await client.reload();
    assert.deepStrictEqual(await generations(), [2, 2, 2]);
    await client.restart(1);
    assert.deepStrictEqual(await generations(), [2, 2, 2]);
  }),
);

test('listeners report their addresses and waiting clients', { skip }, () =>
  withStatus({ workers: 1 }, async (app, client) => {
    const { listeners, slots, dispatcher } = await client.status();
    const [{ id, address, policy, workers, backlogLimit, ...counts }] = listeners;
    assert.deepStrictEqual(
      [id, address, policy, workers],
      [dispatcher.listeners[0].id, `127.0.0.1:${app.target.port}`, 'round-robin', 1],
    );
    assert.ok(backlogLimit > 0, `${backlogLimit}`);
    assert.deepStrictEqual({ ...counts, accepted: 0 }, { accepted: 0, queue: 0, backlog: 0 });
    assert.strictEqual(slots[0].inFlight, 0);
  }),
);

test('waiting clients are counted in the channel, in the queue, or in the backlog', { skip }, () =>
  withStatus(
    { workers: 1 },
    async (app, client) => {
      const hung = app.ask('hang').catch(() => {});
      await until('it hangs', async () => (await client.stack(0).catch(() => '')).includes('supervised.js'));
      /** @type {net.Socket[]} */
      const clients = [];
      const look = async () => {
        const { listeners, slots } = await client.status();
        return { inFlight: slots[0].inFlight, ...listeners[0] };
      };
      // One after the other, until each of these places is used.
      const { inFlight, queue, backlog } = await until('the backlog is used', async () => {
        clients.push(net.connect(app.target).on('error', () => {}));
        const seen = await look();
        return seen.backlog > 0 && seen.inFlight + seen.queue > 0 && seen;
      });
      assert.ok(inFlight + queue + backlog <= clients.length + 1);
      for (const each of clients) each.destroy();
      app.child.kill('SIGKILL');
      await hung;
    },
    { env: { SETTINGS: JSON.stringify({ scheduling: { overload: { queue: 2 } } }) } },
  ),
);

test('shared stores report their content', { skip }, () =>
  withStatus({ workers: 1 }, async (app, client) => {
    assert.deepStrictEqual((await client.status()).stores, []);
    app.tell('share', { name: 'sessions', key: 'a', value: 'x'.repeat(100) });
    await app.marker('done');
    const { stores } = await client.status();
    const [{ name, keys, bytes, limit, memory, clients }] = stores;
    assert.deepStrictEqual([stores.length, name, keys, clients], [1, 'sessions', 1, 1]);
    assert.ok(bytes >= 100 && bytes < limit && memory >= bytes, `${bytes} ${limit} ${memory}`);
  }),
);
