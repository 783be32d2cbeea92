'use strict';

// Workers die while they start. They leave nothing behind, and the others continue.

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { descriptorsOf, until } = require('../../testing/processes.js');

for (const moment of ['at once', 'online', 'listening']) {
  test(`workers are killed: ${moment}`, () =>
    withFixture('connections/starting.js', {}, async (fixture) => {
      await fixture.marker('ready');
      fixture.tell('kill', { moment, times: 3 });
      await fixture.marker('killed');
      const before = descriptorsOf(fixture.pid).size;
      fixture.tell('kill', { moment, times: 20 });
      const { signals } = await fixture.marker('killed');
      assert.deepStrictEqual(signals, Array(20).fill('SIGKILL'));
      await until('their descriptors are closed', () => descriptorsOf(fixture.pid).size <= before);
      fixture.tell('fork');
      assert.strictEqual((await fixture.marker('forked')).answer, 'hello');
    }));
}
