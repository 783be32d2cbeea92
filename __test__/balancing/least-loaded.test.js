'use strict';

// A worker whose event loop is busy gets fewer connections.

const assert = require('node:assert');
const { test } = require('node:test');
const { until } = require('../../testing/processes.js');
const { withApp } = require('../helpers/app.js');

test('a busy worker gets few connections', () =>
  withApp({ env: { WORKERS: '3', SCHEDULING: JSON.stringify('least-loaded') } }, async (app) => {
    const [{ id }] = app.workers;
    app.tell('tell', { id, command: 'toil' });
    await app.marker('toiling');
    const shares = {};
    const ask = async () => {
      const { text } = await app.ask();
      shares[text] = (shares[text] ?? 0) + 1;
    };
    for (let count = 0; count < 60; count++) await ask();
    // With round-robin it would have been 20.
    assert.ok((shares[`${id} hello`] ?? 0) <= 5, JSON.stringify(shares));
    // Each of the others gets its share once the load of the one that has been preferred is measured.
    const others = app.workers.filter((worker) => worker.id !== id).map((worker) => `${worker.id} hello`);
    await until('the others share', async () => others.every((text) => shares[text] > 0) || (await ask()));
  }));
