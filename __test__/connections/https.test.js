'use strict';

const assert = require('node:assert');
const https = require('node:https');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { withProgram, certificate, askAll } = require('../helpers/programs.js');

test('a program with an HTTPS server', () =>
  withProgram('https', async (target, pids) => {
    await askAll(pids, async () => {
      const { status, body } = await get({ ...target, module: https, ca: certificate });
      assert.strictEqual(status, 200);
      return Number(body.replace('Hello from ', ''));
    });
  }));
