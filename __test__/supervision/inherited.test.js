'use strict';

// A supervised worker inherits the same properties as a child started by Node: those of the main thread at the start of the worker.

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');

test('a worker that is started natively inherits the properties of the main thread', () =>
  withFixture('supervision/inherited.js', {}, async (app) => {
    const before = (await app.marker('online')).had;
    app.tell('change');
    const expected = await app.marker('child');
    assert.notStrictEqual(expected.nice, before.nice);
    assert.deepStrictEqual((await app.marker('online')).had, expected);
  }));
