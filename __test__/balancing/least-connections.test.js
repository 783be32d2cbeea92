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
    const stay = async () => {
      const client = app.stay();
      held.push({ client, worker: await client.text });
    };
    const shares = () => {
      const counts = { 1: 0, 2: 0, 3: 0 };
      for (const { worker } of held) counts[worker]++;
      return counts;
    };
    for (let count = 0; count < 9; count++) await stay();
    assert.deepStrictEqual(shares(), { 1: 3, 2: 3, 3: 3 });

    for (const { client } of held.filter(({ worker }) => worker === '2')) await client.close();
    held.splice(0, held.length, ...held.filter(({ worker }) => worker !== '2'));
    // The end of a connection counts once its worker has detected it.
    for (;;) {
      app.tell('stats');
      const { workers } = await app.marker('stats');
      if (workers.find(({ id }) => id === 2).open === 0) break;
    }
    for (let count = 0; count < 3; count++) await stay();
    assert.deepStrictEqual(shares(), { 1: 3, 2: 3, 3: 3 });
    for (const { client } of held) await client.close();
  }));
