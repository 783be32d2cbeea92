'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { withPreloaded } = require('../helpers/ecosystem.js');
const { askAll } = require('../helpers/programs.js');

test('throng starts workers, replaces one that dies, and ends them on SIGTERM', () =>
  withPreloaded('throng.js', async (fixture) => {
    const [first, second] = [await fixture.marker('listening'), await fixture.marker('listening')];
    assert.strictEqual(first.port, second.port);
    const target = { port: first.port, host: '127.0.0.1' };
    const ask = async () => Number((await get(target)).body);
    await askAll([first.pid, second.pid], ask);

    process.kill(first.pid, 'SIGKILL');
    assert.deepStrictEqual(await fixture.marker('exit'), { code: null, signal: 'SIGKILL' });
    const third = await fixture.marker('listening');
    assert.strictEqual(third.port, second.port);
    await askAll([second.pid, third.pid], ask);

    process.kill(fixture.pid, 'SIGTERM');
    for (let count = 0; count < 2; count++) {
      assert.deepStrictEqual(await fixture.marker('exit'), { code: 0, signal: null });
    }
    assert.deepStrictEqual(await fixture.exited, { code: 0, signal: null });
  }));
