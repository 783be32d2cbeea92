'use strict';

// The clients and sockets of a slot stay with it: clients under the policy `sticky`, a socket under `kernel`.

const assert = require('node:assert');
const { test } = require('node:test');
const { withSupervised, standbyOf } = require('../../testing/supervised.js');
const { HttpLoad } = require('../../testing/http-load.js');
const { get } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');

/** @param {unknown} scheduling */
function env(scheduling) {
  return { env: { SETTINGS: JSON.stringify({ scheduling }) } };
}

test('clients stay with their slot when its worker is replaced', () =>
  withSupervised(
    { workers: 3, standby: 1 },
    async (app) => {
      const homes = async () => {
        const found = [];
        for (let n = 1; n <= 12; n++) {
          const localAddress = `127.0.7.${n}`;
          const { body } = await get({ ...app.target, path: '/who', localAddress });
          found.push(JSON.parse(body));
        }
        return found;
      };
      await standbyOf(app);
      const before = await homes();
      assert.ok(new Set(before.map(({ slot }) => slot)).size > 1, 'they are not all in one slot');
      // The slot is taken over by a standby, which was not visible before, and by a worker that is started for it.
      const slot = before[0].slot;
      process.kill(before[0].pid, 'SIGKILL');
      const promoted = await app.marker('promote');
      assert.strictEqual(String(promoted.slot), slot);
      const after = await homes();
      assert.deepStrictEqual(
        after.map((home) => home.slot),
        before.map((home) => home.slot),
      );
      assert.strictEqual(after[0].id, promoted.worker);
      app.tell('reload');
      await app.marker('done');
      await until('the old ones have gone', async () => {
        app.tell('stats');
        return (await app.marker('stats')).draining === 0;
      });
      const reloaded = await homes();
      assert.deepStrictEqual(
        reloaded.map((home) => home.slot),
        before.map((home) => home.slot),
      );
      app.tell('stats');
      const { workers } = (await app.marker('stats')).scheduling;
      for (const { id, slot: seat } of reloaded) {
        assert.strictEqual(String(workers.find((worker) => worker.id === id).slot), seat);
      }
    },
    env({ policy: 'sticky', sticky: { patience: 60_000 } }),
  ));

test('each slot keeps its socket: no request fails when workers are replaced', (t) =>
  withSupervised(
    { workers: 2, standby: 1 },
    async (app) => {
      await standbyOf(app);
      const load = new HttpLoad(app.target, { rate: 100 });
      app.tell('reload');
      await app.marker('done');
      await load.answers(50);
      assert.deepStrictEqual(await load.stop(), {});
      t.diagnostic(`${load.answered} requests`);
      await until('the old ones have gone', async () => {
        app.tell('stats');
        return (await app.marker('stats')).draining === 0;
      });
      // A standby gets no socket, and therefore no connection, before it has a slot.
      app.tell('stats');
      const { slots } = await app.marker('stats');
      const current = new Set(slots.map(({ worker }) => worker));
      const seen = new Set();
      await until('both slots answer', async () => seen.add((await app.who()).id).size === 2);
      assert.deepStrictEqual(seen, current);
    },
    env('kernel'),
  ));
