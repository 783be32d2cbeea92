'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('./helpers/run-fixture.js');

test('where there is no native part, what only that can do says so', () =>
  withFixture('fallback.js', {}, async (fixture) => {
    const { refused, listed } = await fixture.marker('tried');
    assert.deepStrictEqual(refused, [
      'ERR_RCLUSTER_UNSUPPORTED_PLATFORM',
      'ERR_RCLUSTER_UNSUPPORTED_PLATFORM',
    ]);
    assert.deepStrictEqual(listed, []);
  }));
