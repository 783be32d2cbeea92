'use strict';

// cluster.disconnect() ends the workers that the app has forked itself as well as the supervised ones.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'supervision', 'mixed.js');

test(
  'workers beside a supervised cluster, and after its shutdown',
  { skip: isBuiltin && 'no supervision' },
  () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM], {
      encoding: 'utf8',
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    assert.deepStrictEqual([status, stderr], [0, '']);
    assert.deepStrictEqual(stdout.trim().split('\n').sort(), [
      'called back 0 false',
      'own 0',
      'uncaught dead',
    ]);
  },
);
