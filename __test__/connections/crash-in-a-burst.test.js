'use strict';

// A worker that ends by itself in the middle of a burst of clients. Only the client that has caused it fails: the others,
// of which the worker has read nothing, are served by its successor.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in loses some of them';
const CLIENTS = 40;

/** @type {Record<string, { first?: string, how?: string }>} */
const ENDS = {
  'an exception in a request': { first: 'throw' },
  "an exception in 'connection'": { how: 'throw' },
  "an exit in 'connection'": { how: 'exit' },
  "an exit in 'connection' without listeners of 'exit'": { how: 'bare exit' },
};

for (const [name, { first = 'hello', how }] of Object.entries(ENDS)) {
  test(name, { skip }, () =>
    withApp({ env: { WORKERS: '1', REFORK: '1' } }, async (app) => {
      const [{ id }] = app.workers;
      if (how !== undefined) {
        app.tell('tell', { id, command: 'end-at-next-client', how });
        await app.marker('pong');
      }
      const go = path.join(app.directory, 'go');
      app.tell('tell', { id, command: 'block', until: go });
      await app.marker('worker blocked');
      const clients = [app.ask(first)];
      await clients[0].connected;
      for (let count = 1; count < CLIENTS; count++) clients.push(app.ask());
      for (const client of clients) await client.connected;
      await until('they are in the channel', async () => (await app.listenerStats()).passed >= CLIENTS);
      fs.writeFileSync(go, '');
      assert.strictEqual((await app.marker('exit')).code, 1);
      const results = await Promise.all(clients);
      assert.deepStrictEqual(
        results.map(({ outcome }, index) => [index, outcome]).filter(([, outcome]) => outcome !== 'answered'),
        [[0, results[0].outcome]],
      );
      assert.ok(results.some(({ text }) => text === `${id + 1} hello`));
    }),
  );
}

test('a client that ends each worker ends two', { skip }, () =>
  withApp({ env: { WORKERS: '1', REFORK: '1', REJECT: '1' } }, async (app) => {
    const client = app.ask();
    for (const worker of [1, 2]) assert.strictEqual((await app.marker('exit')).id, worker);
    assert.notStrictEqual((await client).outcome, 'answered');
    await app.marker('listening');
    assert.deepStrictEqual(
      app.marks.filter(({ mark }) => mark === 'exit'),
      [],
    );
  }),
);
