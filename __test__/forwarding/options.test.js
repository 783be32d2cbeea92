'use strict';

// Invalid options of forwarding are refused by name, before anything listens.

const assert = require('node:assert');
const { test } = require('node:test');
const cluster = require('../..');

test('numbers out of range', () => {
  for (const [name, value] of [
    // 0 would mean forever, as for the other times.
    ['connectTimeout', 0],
    ['connectTimeout', -1],
    ['idleTimeout', -1],
    ['halfOpenTimeout', 1.5],
    ['maxConnections', 2 ** 31],
  ]) {
    assert.throws(() => cluster.setupPrimary({ forward: { port: 0, host: '127.0.0.1', [name]: value } }), {
      code: 'ERR_INVALID_ARG_VALUE',
      message: new RegExp(`^The setting "forward.${name}" must be a whole number from`),
    });
  }
  assert.deepStrictEqual(cluster.forwarding(), []);
});
