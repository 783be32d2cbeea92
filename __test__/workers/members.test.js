'use strict';

// At the event 'listening', the worker is a member: clients that connect from then on may be passed to it.

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
