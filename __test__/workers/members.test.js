'use strict';

// Whoever hears that a worker listens may count on it: clients that come from then on may be given to it.

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin } = require('../../testing/subject.js');

test(
  'a worker is among those that get connections when the primary hears that it listens',
  { skip: isBuiltin && 'it has no statistics' },
  () =>
    withFixture('workers/members.js', {}, async (app) => {
      assert.deepStrictEqual(await app.marker('heard'), { lacking: [] });
    }),
);
