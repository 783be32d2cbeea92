'use strict';

const assert = require('node:assert');
const https = require('node:https');
const { test } = require('node:test');
const { get } = require('./helpers/clients.js');
const { withProgram, certificate, unique } = require('./helpers/programs.js');

test('a program with an HTTPS server', () =>
  withProgram('https', async (target, pids) => {
    const answers = [];
    for (let count = 0; count < 20; count++) {
      const { status, body } = await get({ ...target, module: https, ca: certificate });
      assert.strictEqual(status, 200);
      answers.push(Number(body.replace('Hello from ', '')));
    }
    assert.deepStrictEqual(unique(answers), pids);
  }));
