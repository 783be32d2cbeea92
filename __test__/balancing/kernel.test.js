'use strict';

// Each worker accepts from a socket of its own; no connection is lost when workers come and go.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');

const env = { WORKERS: '4', REFORK: '1', SCHEDULING: '"kernel"' };

test('connections are distributed evenly', () =>
  withApp({ env }, async (app) => {
    const accepted = async () => (await app.listenerStats()).accepted;
    const shares = {};
    // None of the connections goes through the primary. On a busy machine, it does accept on behalf of a worker that
    // gets no CPU for a while, and what happens then is no evidence.
    for (let round = 0; round < 80;) {
      const before = await accepted();
      const answers = await Promise.all(Array.from({ length: 50 }, () => app.ask()));
      if ((await accepted()) !== before) continue;
      round++;
      for (const { text } of answers) shares[text] = (shares[text] ?? 0) + 1;
    }
    const counts = Object.values(shares);
    assert.strictEqual(counts.length, 4, JSON.stringify(shares));
    // By chance: 1000 each, with a standard deviation of 27.
    assert.ok(Math.max(...counts) / Math.min(...counts) < 1.3, JSON.stringify(shares));
  }));

test('clients that wait for a stopped worker that is killed go to the others', () =>
  withApp({ env: { ...env, REFORK: '' } }, async (app) => {
    const [{ pid }] = app.workers;
    process.kill(pid, 'SIGSTOP');
    const clients = Array.from({ length: 100 }, () => app.ask());
    await Promise.all(clients.map((client) => client.connected));
    process.kill(pid, 'SIGKILL');
    const results = await Promise.all(clients);
    assert.deepStrictEqual(
      results.filter(({ outcome }) => outcome !== 'answered'),
      [],
    );
  }));
