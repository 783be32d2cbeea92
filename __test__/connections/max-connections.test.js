'use strict';

// A full worker leaves a connection to another; when all are full it waits until one has room.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');

/** Ensures that the event loop of each worker has turned, by waiting for an answer. */
async function turn(app) {
  for (const { id } of app.workers) {
    app.tell('tell', { id, command: 'ping' });
    await app.marker('pong');
  }
}

for (const policy of ['round-robin', 'kernel']) {
  const SCHEDULING = JSON.stringify(policy);

  test(`each worker accepts as many as its limit; the next client waits, ${policy}`, () =>
    withApp({ env: { MAX: '2', SCHEDULING } }, async (app) => {
      const clients = Array.from({ length: 4 }, () => app.stay());
      const served = await Promise.all(clients.map((client) => client.text));
      assert.deepStrictEqual(served.toSorted(), ['1', '1', '2', '2']);

      let answered = false;
      const next = app.stay();
      const answer = next.text.then((text) => {
        answered = true;
        return text;
      });
      await next.connected;
      await turn(app);
      assert.strictEqual(answered, false);

      // The first worker with room accepts it.
      const leaving = clients.pop();
      await leaving.close();
      assert.strictEqual(await answer, served.pop());
      for (const client of [next, ...clients]) await client.close();
    }));

  test(`a thousand clients are served by workers that accept one at a time, ${policy}`, () =>
    withApp({ env: { MAX: '1', SCHEDULING } }, async (app) => {
      const results = [];
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          while (results.length < 1000) results.push(await app.ask());
        }),
      );
      assert.deepStrictEqual(
        results.filter(({ outcome }) => outcome !== 'answered'),
        [],
      );
      assert.deepStrictEqual(new Set(results.map(({ text }) => text)), new Set(['1 hello', '2 hello']));
    }));
}
