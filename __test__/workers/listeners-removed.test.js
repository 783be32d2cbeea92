'use strict';

// An app that removes all listeners from its workers removes none of those that rcluster relies on.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'workers', 'listeners-removed.js');
const skip = isBuiltin && 'there is no supervision';

for (const END of ['SIGTERM', 'disconnect']) {
  test(`the cluster ends after ${END}`, { skip }, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM], {
      encoding: 'utf8',
      env: { ...process.env, END },
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    assert.strictEqual(status, 0, stderr);
    const expected = [
      'answer: ERR_RCLUSTER_GONE',
      'closed',
      ...(END === 'disconnect' ? ['disconnected'] : []),
      'leader: ended',
      'waiting: ERR_RCLUSTER_GONE',
    ];
    assert.deepStrictEqual(stdout.trim().split('\n').sort(), expected);
    assert.strictEqual(stderr, '');
  });
}
