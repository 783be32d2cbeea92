'use strict';

const assert = require('node:assert');
const { randomBytes } = require('node:crypto');
const net = require('node:net');
const { buffer } = require('node:stream/consumers');
const { test } = require('node:test');
const { withProgram } = require('../helpers/programs.js');

test('a program that echoes', () =>
  withProgram('net', async (target) => {
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        const bytes = randomBytes(200_000);
        const socket = net.connect(target);
        socket.end(bytes);
        assert.ok(bytes.equals(await buffer(socket)));
      }),
    );
  }));
