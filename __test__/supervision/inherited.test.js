'use strict';

// A supervised worker inherits what a child of Node's own would: of the main thread, as it is when the worker is started.

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');

test('a worker that is started natively inherits what the main thread has', () =>
  withFixture('supervision/inherited.js', {}, async (app) => {
    const before = (await app.marker('online')).had;
    app.tell('change');
    const expected = await app.marker('child');
    assert.notStrictEqual(expected.nice, before.nice);
    assert.deepStrictEqual((await app.marker('online')).had, expected);
  }));
