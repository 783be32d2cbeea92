'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('./helpers/run-fixture.js');

test('where there is no native part, what only that can do says so', () =>
  withFixture('fallback.js', {}, async (fixture) => {
    const code = 'ERR_RCLUSTER_UNSUPPORTED_PLATFORM';
    const primary = await fixture.marker('primary');
    assert.deepStrictEqual(primary.refused, Array(4).fill(code));
    const hook = { asked: 0, answered: 0, late: 0, refused: 0, unasked: 0, waiting: 0 };
    assert.deepStrictEqual(primary.told, [[], { listeners: [], workers: [], hook }]);
    const { refused, listed, slot } = await fixture.marker('tried');
    assert.deepStrictEqual(refused, Array(1).fill(code));
    assert.deepStrictEqual([listed, slot], [[], null]);
    assert.deepStrictEqual(await fixture.marker('retires'), { reason: 'tired', deadline: null });
  }));
