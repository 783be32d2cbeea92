'use strict';

// The worker with the fewest connections gets the next one, whichever is next in rotation.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');

const env = { WORKERS: '3', SCHEDULING: JSON.stringify('least-connections') };

test('a worker that has lost its clients is filled up first', () =>
  withApp({ env }, async (app) => {
    /** @type {{ client: ReturnType<typeof app.stay>, worker: string }[]} */
    const held = [];
    const stats = async () => {
      app.tell('stats');
      return app.marker('stats');
    };
    const shares = () => {
      const counts = { 1: 0, 2: 0, 3: 0 };
      for (const { worker } of held) counts[worker]++;
      return counts;
    };
    // The end of a connection counts once its worker has detected it.
    const closed = async () => {
      const counts = shares();
      while ((await stats()).workers.some(({ id, open }) => open !== counts[id]));
    };
    // A worker that gets no CPU for a while is passed over, as intended. Clients to which that may have happened
    // are no evidence, and connect once more.
    const stay = async (number) => {
      for (;;) {
        const before = await stats();
        const added = [];
        for (let count = 0; count < number; count++) {
          const client = app.stay();
          added.push({ client, worker: await client.text });
        }
        const after = await stats();
        const isSteady =
          after.listeners[0].reclaimed === before.listeners[0].reclaimed &&
          [...before.workers, ...after.workers].every(({ blocked }) => !blocked);
        if (isSteady) return held.push(...added);
        for (const { client } of added) await client.close();
        await closed();
      }
    };
    await stay(9);
    assert.deepStrictEqual(shares(), { 1: 3, 2: 3, 3: 3 });

    for (const { client } of held.filter(({ worker }) => worker === '2')) await client.close();
    held.splice(0, held.length, ...held.filter(({ worker }) => worker !== '2'));
    await closed();
    await stay(3);
    assert.deepStrictEqual(shares(), { 1: 3, 2: 3, 3: 3 });
    for (const { client } of held) await client.close();
  }));
