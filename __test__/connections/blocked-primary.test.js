'use strict';

// Clients are answered while the primary's JavaScript is blocked.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');

const CLIENTS = 2000;
const ABREAST = 50;

for (const how of ['loop', 'wait']) {
  test(`clients are answered while the primary is blocked (${how})`, () =>
    withApp({}, async (app) => {
      const released = path.join(app.directory, 'released');
      app.tell('block', { until: released, how });
      await app.marker('blocked');

      const results = [];
      await Promise.all(
        Array.from({ length: ABREAST }, async () => {
          while (results.length < CLIENTS) results.push(await app.ask());
        }),
      );
      assert.deepStrictEqual(
        results.filter(({ outcome }) => outcome !== 'answered'),
        [],
      );
      assert.deepStrictEqual(new Set(results.map(({ text }) => text)), new Set(['1 hello', '2 hello']));

      fs.writeFileSync(released, '');
      await app.marker('unblocked');
    }));
}

test('a worker that dies while the primary is blocked leaves its clients to the others', () =>
  withApp({}, async (app) => {
    const released = path.join(app.directory, 'released');
    app.tell('block', { until: released });
    await app.marker('blocked');
    process.kill(app.workers[0].pid, 'SIGKILL');

    const results = [];
    for (let count = 0; count < 100; count++) results.push(await app.ask());
    assert.deepStrictEqual(
      results.filter(({ outcome }) => outcome !== 'answered'),
      [],
    );

    fs.writeFileSync(released, '');
    await app.marker('unblocked');
    assert.strictEqual((await app.marker('exit')).signal, 'SIGKILL');
  }));
