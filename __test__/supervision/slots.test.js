'use strict';

// supervisor.workers has a worker for each slot that has one, and no others.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'supervision', 'slots.js');

test('supervisor.workers follows the slots', { skip: isBuiltin && 'there is no supervision' }, () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM], {
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  assert.deepStrictEqual([status, stderr], [0, '']);
  assert.deepStrictEqual(stdout.trim().split('\n'), [
    'started: alive,alive,alive',
    'in a backoff: alive,none,alive',
    'one: alive',
    'two: alive,alive',
    'reloaded: alive,alive',
    'shut down: none,none',
  ]);
});
