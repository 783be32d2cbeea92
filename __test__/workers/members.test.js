'use strict';

// At the event 'listening', the worker is a member: clients that connect from then on may be passed to it.

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin } = require('../../testing/subject.js');

test(
  'a worker gets connections from the moment of its event listening',
  { skip: isBuiltin && 'it has no statistics' },
  () =>
    withFixture('workers/members.js', {}, async (app) => {
      assert.deepStrictEqual(await app.marker('heard'), { lacking: [] });
    }),
);
