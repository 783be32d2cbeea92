'use strict';

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { withProgram, askAll } = require('../helpers/programs.js');

for (const framework of ['express', 'fastify']) {
  test(`a program with ${framework}`, () =>
    withProgram(path.join(__dirname, 'apps', framework), async (target, pids) => {
      assert.strictEqual((await get({ ...target, path: '/' })).body, 'Hello World!');
      assert.strictEqual((await get({ ...target, path: '/nowhere' })).status, 404);

      const content = JSON.stringify({ text: 'x'.repeat(50_000) });
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) };
      const echo = await get({ ...target, method: 'POST', path: '/echo', headers }, content);
      assert.deepStrictEqual([echo.status, echo.body], [200, content]);

      await askAll(pids, async () => {
        const { name, pid } = JSON.parse((await get({ ...target, path: '/who/me' })).body);
        assert.strictEqual(name, 'me');
        return pid;
      });
    }));
}
