'use strict';

// A worker that could not be started stays in memory no longer than the app keeps it.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'workers', 'not-started.js');

test('failed forks are freed', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', PROGRAM], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.deepStrictEqual([status, stdout, stderr], [0, 'freed\n', '']);
});
