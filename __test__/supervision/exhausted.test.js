'use strict';

// supervise() can be called again after it has failed for lack of descriptors.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'supervision', 'exhausted.js');

test(
  'a primary whose first attempts have failed stays alive for a worker that waits, and ends after the shutdown',
  { skip: isBuiltin && 'there is no supervision' },
  () => {
    const { status, stdout, stderr } = spawnSync(
      'sh',
      ['-c', `ulimit -n 80; exec '${process.execPath}' '${PROGRAM}'`],
      {
        encoding: 'utf8',
        timeout: 30_000,
        killSignal: 'SIGKILL',
      },
    );
    assert.deepStrictEqual([status, stderr], [0, '']);
    assert.deepStrictEqual(stdout.trim().split('\n'), ['EMFILE', 'shut down', 'ends by itself']);
  },
);
