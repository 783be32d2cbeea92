'use strict';

// A worker whose event loop is busy gets fewer connections.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');

test('a worker that toils gets hardly anything', () =>
  withApp({ env: { WORKERS: '3', SCHEDULING: JSON.stringify('least-loaded') } }, async (app) => {
    const [{ id }] = app.workers;
    app.tell('tell', { id, command: 'toil' });
    await app.marker('toiling');
    const shares = {};
    for (let count = 0; count < 60; count++) {
      const { text } = await app.ask();
      shares[text] = (shares[text] ?? 0) + 1;
    }
    // With round-robin it would have been 20.
    assert.ok((shares[`${id} hello`] ?? 0) <= 5, JSON.stringify(shares));
    assert.strictEqual(Object.keys(shares).length >= 2, true, JSON.stringify(shares));
  }));
