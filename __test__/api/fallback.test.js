'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');

test('without a native part, functions that need it throw an error that says so', () =>
  withFixture('api/fallback.js', {}, async (fixture) => {
    const code = 'ERR_RCLUSTER_UNSUPPORTED_PLATFORM';
    const primary = await fixture.marker('primary');
    assert.deepStrictEqual(primary.refused, Array(14).fill(code));
    assert.deepStrictEqual(primary.invalid, [
      'ERR_INVALID_ARG_VALUE',
      'ERR_INVALID_ARG_VALUE',
      'ERR_OUT_OF_RANGE',
    ]);
    assert.deepStrictEqual(primary.listed, ['SCHED_NONE', 'SCHED_RR']);
    assert.deepStrictEqual(primary.told, [[], { listeners: [], workers: [] }]);
    const { refused, listed, slot } = await fixture.marker('tried');
    assert.deepStrictEqual(refused, [code, 'ERR_RCLUSTER_NOT_PRIMARY']);
    assert.deepStrictEqual([listed, slot], [[], null]);
    assert.deepStrictEqual(await fixture.marker('retires'), { reason: 'tired', deadline: null });
  }));
