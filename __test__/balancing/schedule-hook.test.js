'use strict';

// The app chooses workers for connections, and connections do not wait for a hook that does not answer.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const cluster = require('../..');
const { withApp } = require('../helpers/app.js');
const { exchange, get, hold } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');
const { withSupervised } = require('../../testing/supervised.js');

/** Longer than any test. */
const FOR_EVER = 3_600_000;

/**
 * @param {import('../helpers/app.js').App} app
 * @param {number} [tail] The last number of the client's address.
 * @returns {Promise<number>} The worker that has answered.
 */
async function ask(app, tail = 9) {
  const { outcome, text } = await exchange({ ...app.target, localAddress: `127.0.7.${tail}` }, 'hello');
  assert.strictEqual(outcome, 'answered');
  return Number.parseInt(text, 10);
}

/** @param {import('../helpers/app.js').App} app */
async function stats(app) {
  app.tell('stats');
  return app.marker('stats');
}

/**
 * The workers that answer successive requests. On a busy machine, a worker that gets no CPU for a while loses
 * its connection to another one, and the hook of a primary that gets none is late, as intended. That is not a
 * failure of the choice, so the test tries again.
 * @param {import('../helpers/app.js').App} app
 * @param {number[]} tails
 */
async function askSteadily(app, tails) {
  const disturbances = async () => {
    const { listeners, hook } = await stats(app);
    return listeners[0].reclaimed + hook.late + hook.unasked;
  };
  for (;;) {
    const before = await disturbances();
    const got = [];
    for (const tail of tails) got.push(await ask(app, tail));
    if ((await disturbances()) === before) return got;
  }
}

/**
 * @param {string} hook
 * @param {(app: import('../helpers/app.js').App) => Promise<void>} body
 * @param {Record<string, number>} [options]
 */
function withHook(hook, body, options = {}) {
  const env = { WORKERS: '3', HOOK: hook, HOOK_OPTIONS: JSON.stringify({ timeout: FOR_EVER, ...options }) };
  return withApp({ env }, body);
}

/**
 * Blocks the primary's JavaScript until the result is called.
 * @param {import('../helpers/app.js').App} app
 */
async function block(app) {
  const released = path.join(app.directory, 'released');
  app.tell('block', { until: released, how: 'wait' });
  await app.marker('blocked');
  return () => fs.writeFileSync(released, '');
}

/**
 * @param {import('../helpers/app.js').App} app
 * @param {number} id
 */
async function blockWorker(app, id) {
  const until = path.join(app.directory, 'never');
  app.tell('tell', { id, command: 'block', until });
  await app.marker('worker blocked');
}

test('a worker is chosen by its entry, by its Worker or by its id; otherwise workers take turns', () =>
  withHook('address', async (app) => {
    const got = await askSteadily(app, [1, 9, 2, 1, 3, 9, 3, 2, 9]);
    const inTurn = [1, 5, 8].map((place) => got[place]);
    assert.deepStrictEqual(
      got.filter((_, place) => ![1, 5, 8].includes(place)),
      [1, 2, 1, 3, 3, 2],
    );
    assert.deepStrictEqual(inTurn.toSorted(), [1, 2, 3]);
    const { hook, listeners } = await stats(app);
    const { accepted } = listeners[0];
    const nothing = { late: 0, refused: 0, unasked: 0, waiting: 0 };
    assert.deepStrictEqual(hook, { asked: accepted, answered: accepted, ...nothing });
  }));

test('the function is called with facts about the connection and the workers', () =>
  withHook('tell', async (app) => {
    // A worker that gets no CPU is not ready for a moment, and an earlier client may still be connected.
    const { client, connection, isFrozen, workers } = await until('all workers are ready', async () => {
      const client = hold({ ...app.target, localAddress: '127.0.7.5' });
      await client.connected;
      const asked = await app.marker('asked');
      const free = asked.workers.filter(({ connections }) => connections === 0);
      if (free.length === app.workers.length) return { client, ...asked };
      await client.close();
      return null;
    });
    assert.deepStrictEqual(connection, {
      listener: `${app.target.port}`,
      remoteAddress: '127.0.7.5',
      remotePort: client.socket.localPort,
      remoteFamily: 'IPv4',
      localAddress: '127.0.0.1',
      localPort: app.target.port,
    });
    assert.ok(isFrozen);
    assert.deepStrictEqual(
      workers
        .map(({ id, slot, connections, ready, pid }) => ({ id, slot, connections, ready, pid }))
        .toSorted((a, b) => a.id - b.id),
      app.workers
        .map(({ id, pid }) => ({ id, slot: id - 1, connections: 0, ready: true, pid }))
        .toSorted((a, b) => a.id - b.id),
    );
    for (const { utilization } of workers) assert.ok(utilization >= 0 && utilization <= 1);
    client.socket.write('stay');
    const chosen = Number(await client.text);
    // A worker that gets no CPU is not offered for a moment.
    const offered = await until('it is offered again', async () => {
      await exchange(app.target, 'hello');
      return (await app.marker('asked')).workers.find(({ id }) => id === chosen);
    });
    assert.strictEqual(offered.connections, 1);
    await client.close();
  }));

test('a hook may apply to one listener only', () =>
  withApp({ env: { WORKERS: '2', HOOK: 'first', HOOK_AT: '0' } }, async (app) => {
    assert.deepStrictEqual(await askSteadily(app, [9, 9, 9]), [1, 1, 1]);
  }));

test('many connections wait for the hook at once, and each answer counts for the next', () =>
  withHook('fewest', async (app) => {
    const release = await block(app);
    const clients = Array.from({ length: 30 }, () => app.stay());
    await Promise.all(clients.map(({ connected }) => connected));
    release();
    await Promise.all(clients.map(({ text }) => text));
    const chosen = [];
    for (let count = 0; count < 30; count++) chosen.push(await app.marker('chose'));
    // If connections were not counted at once, one worker would get them all. A worker without CPU is not
    // offered for a moment.
    for (const id of [1, 2, 3]) assert.ok(chosen.filter((other) => other === id).length <= 20, `${chosen}`);
    assert.strictEqual((await stats(app)).hook.answered, 30);
    await Promise.all(clients.map((client) => client.close()));
  }));

test('a blocked primary is late once, and its hook is then not called until it has answered', () =>
  withHook(
    'first',
    async (app) => {
      const release = await block(app);
      const got = [];
      // They go to the workers in turn; a worker without CPU is skipped for a moment.
      while (got.length < 6 || new Set(got).size === 1) got.push(await ask(app));
      release();
      await app.marker('unblocked');
      const { asked, late, unasked } = (await stats(app)).hook;
      assert.deepStrictEqual([asked, late, unasked], [1, 1, got.length - 1]);
      await until('it is asked again', async () => {
        await ask(app);
        return (await stats(app)).hook.asked > asked;
      });
      // On a busy machine, another answer may be late.
      await until('it decides again', async () => {
        const before = (await stats(app)).hook.answered;
        const got = await ask(app);
        return got === 1 && (await stats(app)).hook.answered > before;
      });
    },
    { timeout: 50 },
  ));

test('a client that disconnects while the hook is called leaves nothing behind', () =>
  withHook('first', async (app) => {
    const release = await block(app);
    const clients = Array.from({ length: 20 }, () => hold(app.target));
    await Promise.all(clients.map(({ connected }) => connected));
    await Promise.all(clients.map((client) => client.close()));
    release();
    await ask(app);
    const { hook, listeners } = await stats(app);
    assert.deepStrictEqual([hook.asked, hook.answered, hook.waiting], [21, 21, 0]);
    assert.strictEqual(listeners[0].accepted, 21);
    await until('the worker has closed them', async () => {
      const { workers } = await stats(app);
      return workers.every(({ open, inFlight }) => open === 0 && inFlight === 0);
    });
  }));

test('a connection waits for the chosen worker while that is blocked, but not after its death', () =>
  withHook(
    'first',
    async (app) => {
      await blockWorker(app, 1);
      // The first connection is in flight when the worker turns out to be blocked, and is reclaimed.
      const first = ask(app);
      await until('it waits', async () => (await stats(app)).listeners[0].waiting === 1);
      const second = ask(app);
      await until('both wait', async () => (await stats(app)).listeners[0].waiting === 2);
      assert.strictEqual((await stats(app)).listeners[0].reclaimed, 1);
      process.kill(app.workers.find(({ id }) => id === 1).pid, 'SIGKILL');
      assert.ok(!(await Promise.all([first, second])).includes(1));
      await app.marker('exit');
    },
    { patience: FOR_EVER },
  ));

test('that wait is limited', () =>
  withHook(
    'first',
    async (app) => {
      await blockWorker(app, 1);
      for (let count = 0; count < 3; count++) assert.notStrictEqual(await ask(app), 1);
    },
    { patience: 20 },
  ));

for (const [hook, code] of /** @type {const} */ ([
  ['throw', 'RCLUSTER_HOOK_THREW'],
  ['async', 'RCLUSTER_HOOK_PROMISE'],
  ['nonsense', 'RCLUSTER_HOOK_INVALID'],
  ['unknown', 'RCLUSTER_HOOK_UNKNOWN_WORKER'],
])) {
  test(`an invalid choice is warned about once, and connections go to workers in turn: ${hook}`, () =>
    withHook(hook, async (app) => {
      const got = [];
      for (let count = 0; count < 6; count++) got.push(await ask(app));
      assert.ok(new Set(got).size > 1, `${got}`);
      assert.strictEqual((await app.marker('warning')).code, code);
      const { asked, refused } = (await stats(app)).hook;
      assert.deepStrictEqual([asked, refused], [6, 6]);
      assert.deepStrictEqual(app.marks, [], 'no other warning');
    }));
}

test('a promise that is rejected does not end the primary', () =>
  withHook('reject', async (app) => {
    assert.ok((await ask(app)) > 0);
    const codes = [(await app.marker('warning')).code, (await app.marker('warning')).code];
    assert.deepStrictEqual(codes.toSorted(), ['RCLUSTER_HOOK_PROMISE', 'RCLUSTER_HOOK_THREW']);
  }));

test('a worker that is dead cannot be chosen', () =>
  withHook('former', async (app) => {
    await ask(app);
    process.kill(app.workers.find(({ id }) => id === 1).pid, 'SIGKILL');
    await app.marker('exit');
    assert.notStrictEqual(await ask(app), 1);
    assert.strictEqual((await app.marker('warning')).code, 'RCLUSTER_HOOK_UNKNOWN_WORKER');
  }));

test('it can only be set in the primary, before the first fork', () =>
  withHook('first', async (app) => {
    app.tell('reschedule');
    assert.deepStrictEqual(await app.marker('refused'), { code: 'ERR_RCLUSTER_TOO_LATE' });
    app.tell('tell', { id: 1, command: 'schedule' });
    assert.deepStrictEqual(await app.marker('refused'), { id: 1, code: 'ERR_RCLUSTER_NOT_PRIMARY' });
  }));

test('it does not keep the process alive', () =>
  withHook('first', async (app) => {
    await ask(app);
    app.tell('leave');
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
  }));

test('a slot can be chosen, and the replacement of a supervised worker inherits it', () =>
  withSupervised(
    { workers: 2 },
    async (app) => {
      const who = async (slot) => {
        const { body } = await get({ ...app.target, path: '/who', localAddress: `127.0.7.${slot}` });
        return JSON.parse(body);
      };
      const bySlot = async (slots) => {
        for (const slot of slots) {
          if ((await who(slot)).slot !== `${slot}`) return false;
        }
        return true;
      };
      // No worker gets two of them in rotation.
      await until('each has its clients', () => bySlot([1, 1, 0, 0]));
      const before = app.workers[1];
      process.kill(before.pid, 'SIGKILL');
      await app.marker('exit');
      await until('the replacement has its clients', () => bySlot([1, 1, 0, 0]));
      assert.notStrictEqual((await who(1)).pid, before.pid);
    },
    { env: { HOOK: 'slot' } },
  ));

test('a wrong call throws at once, and a hook needs a function', () => {
  for (const choose of [undefined, 'first', {}]) {
    assert.throws(() => cluster.schedule(/** @type {any} */ (choose)), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
    });
  }
  assert.throws(() => cluster.schedule(() => {}, { timeout: 0 }), { code: 'ERR_INVALID_ARG_VALUE' });
  assert.deepStrictEqual(cluster.settings, {}, 'a call that throws changes nothing');
  cluster.schedulingPolicy = cluster.SCHED_HOOK;
  assert.throws(() => cluster.setupPrimary(), { code: 'ERR_INTERNAL_ASSERTION' });

  const choose = () => {};
  cluster.setupPrimary({ scheduling: { policy: 'least-loaded', listeners: { 81: 'sticky' } } });
  cluster.schedule(choose, { timeout: 7 });
  assert.deepStrictEqual(cluster.settings.scheduling, {
    policy: choose,
    hook: { timeout: 7 },
    listeners: { 81: 'sticky' },
  });
  assert.strictEqual(cluster.schedulingPolicy, cluster.SCHED_HOOK);
  // A later call without a policy keeps the function.
  cluster.setupPrimary({ scheduling: { overload: { queue: 5 } } });
  assert.strictEqual(cluster.schedulingPolicy, cluster.SCHED_HOOK);
});
