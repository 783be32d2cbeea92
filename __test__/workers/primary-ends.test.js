'use strict';

// The end of the primary is not a failure of its workers: they end, and write nothing.

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { runToEnd } = require('../helpers/run-fixture.js');
const { isBuiltin } = require('../../testing/subject.js');

const FIXTURE = path.join(__dirname, '..', 'fixtures', 'workers', 'primary-ends.js');

test(
  'workers with shared state write nothing when their primary ends',
  { skip: isBuiltin && 'it has no shared state' },
  async () => {
    const { stderr } = await runToEnd(FIXTURE, {});
    assert.strictEqual(stderr, '');
  },
);
