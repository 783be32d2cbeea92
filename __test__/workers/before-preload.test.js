'use strict';

// No worker outlives its primary, even before its preload has run.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { isAlive } = require('../../testing/processes.js');
const { withFixture } = require('../helpers/run-fixture.js');

test('a worker that waits for its debugger ends with its primary', { skip: isBuiltin && 'it lives on' }, () =>
  withFixture('workers/before-preload.js', {}, async (fixture) => {
    const pid = await fixture.marker('waits');
    assert.ok(isAlive(pid));
    process.kill(fixture.pid, 'SIGKILL');
    // The helper checks that no process is left.
    await fixture.exited;
  }),
);
