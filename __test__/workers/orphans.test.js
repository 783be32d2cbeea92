'use strict';

// A primary that is PID 1 reaps orphans, but never a child that other code waits for.

const assert = require('node:assert');
const { execFile, spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { DEADLINE } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const UNSHARE = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];
const fixture = path.join(__dirname, '..', 'fixtures', 'workers', 'orphans.js');

const upTo = (length) => Array.from({ length }, (_, index) => index + 1);

function whyNot() {
  if (isBuiltin) return 'the built-in reaps its own children only';
  const tried = spawnSync(UNSHARE[0], [...UNSHARE.slice(1), 'true']);
  return tried.status !== 0 && `a process namespace takes privileges: ${tried.error ?? tried.stderr}`;
}

test(
  'as PID 1, a primary reaps 1,000 orphans, and every child is reported with its own code',
  { skip: whyNot() },
  async () => {
    const env = { ...process.env };
    delete env.NODE_TEST_CONTEXT;
    const args = [...UNSHARE.slice(1), process.execPath, fixture];
    const { stdout, stderr } = await promisify(execFile)(UNSHARE[0], args, { env, timeout: DEADLINE });
    assert.strictEqual(stderr, '');
    const { orphans, ...seen } = JSON.parse(stdout);
    assert.ok(orphans > 0, 'there were orphans to reap');
    assert.deepStrictEqual(seen, {
      pid: 1,
      made: 7,
      codes: upTo(20),
      threadCodes: upTo(20),
      workerCodes: [21, 22, 23],
      signal: 'SIGKILL',
    });
  },
);
