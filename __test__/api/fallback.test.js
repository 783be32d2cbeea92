'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');

test('without a native part, functions that need it throw an error that says so', () =>
  withFixture('api/fallback.js', {}, async (fixture) => {
    const code = 'ERR_RCLUSTER_UNSUPPORTED_PLATFORM';
    const primary = await fixture.marker('primary');
    assert.deepStrictEqual(primary.refused, Array(13).fill(code));
    assert.deepStrictEqual(primary.told, [[], { listeners: [], workers: [] }]);
    const { refused, listed, slot } = await fixture.marker('tried');
    assert.deepStrictEqual(refused, Array(1).fill(code));
    assert.deepStrictEqual([listed, slot], [[], null]);
    assert.deepStrictEqual(await fixture.marker('retires'), { reason: 'tired', deadline: null });
  }));
