'use strict';

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { withProgram, askAll } = require('../helpers/programs.js');

test('a program with koa', () =>
  withProgram(path.join(__dirname, 'apps', 'koa'), async (target, pids) => {
    const hello = await get({ ...target, path: '/' });
    assert.deepStrictEqual([hello.body, hello.headers['x-after']], ['Hello World!', 'yes']);
    assert.strictEqual((await get({ ...target, path: '/nowhere' })).status, 404);
    assert.strictEqual((await get({ ...target, path: '/fails' })).status, 418);

    const content = 'x'.repeat(500_000);
    assert.strictEqual((await get({ ...target, method: 'POST', path: '/echo' }, content)).body, content);
    await askAll(pids, async () => JSON.parse((await get({ ...target, path: '/who' })).body).pid);
  }));
