'use strict';

// A relative path of a listener is resolved once, in the directory of the primary at its first fork.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'balancing', 'directory.js');

test(
  'a primary forks after it has changed its directory',
  { skip: isBuiltin && 'it has no such setting' },
  () => {
    const DIRECTORY = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-directory-'));
    try {
      const options = { encoding: 'utf8', env: { ...process.env, DIRECTORY }, timeout: 30_000 };
      const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM], options);
      assert.deepStrictEqual([status, stderr], [0, '']);
      assert.strictEqual(stdout, '2 workers\nERR_RCLUSTER_TOO_LATE\n');
    } finally {
      fs.rmSync(DIRECTORY, { recursive: true });
    }
  },
);
