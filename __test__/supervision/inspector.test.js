'use strict';

// Each supervised worker has an inspector port of its own, however it was started.

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');

/**
 * @param {any} app
 * @param {number} count
 * @returns {Promise<{ id: number, port: number, calls: number, named: string }[]>}
 */
async function ports(app, count) {
  const seen = [];
  for (let n = 0; n < count; n++) seen.push(await app.marker('port'));
  for (const { port, named } of seen) assert.strictEqual(named, `--inspect-port=${port}`);
  return seen.sort((one, other) => one.port - other.port);
}

test('ports are counted from the primary on', () =>
  withFixture('supervision/debugged.js', {}, async (app) => {
    const first = await ports(app, 3);
    assert.deepStrictEqual(
      first.map(({ port }) => port),
      [21_401, 21_402, 21_403],
    );
    app.tell('kill', first[1].id);
    assert.strictEqual((await ports(app, 1))[0].port, 21_404);
    app.tell('reload');
    const reloaded = await ports(app, 3);
    assert.deepStrictEqual(
      reloaded.map(({ port }) => port),
      [21_405, 21_406, 21_407],
    );
    await app.marker('reloaded');
  }));

test('a function is called once for each worker, and a replacement has the port of the dead one', () =>
  withFixture('supervision/debugged.js', { env: { PORTS: 'function' } }, async (app) => {
    const first = await ports(app, 3);
    assert.deepStrictEqual(
      first.map(({ port, calls }) => [port, calls]),
      [21_500, 21_501, 21_502].map((port) => [port, 3]),
    );
    app.tell('kill', first[1].id);
    assert.strictEqual((await ports(app, 1))[0].port, 21_501);
    app.tell('scale', 4);
    const [{ port, calls }] = await ports(app, 1);
    assert.deepStrictEqual([port, calls], [21_503, 4]);
    app.tell('reload');
    const reloaded = await ports(app, 4);
    assert.deepStrictEqual(
      reloaded.map(({ port }) => port),
      [21_504, 21_505, 21_506, 21_507],
    );
    await app.marker('reloaded');
  }));
