'use strict';

// An error of binding a worker's own address is an 'error' of the server, as without a cluster.

const assert = require('node:assert');
const { execFile } = require('node:child_process');
const { test } = require('node:test');
const { promisify } = require('node:util');

test('a worker that listens twice at its own path gets EADDRINUSE', async () => {
  const file = require.resolve('../fixtures/forwarding/own-twice.js');
  const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 60_000 });
  assert.strictEqual(stdout.trim(), 'error EADDRINUSE');
});
