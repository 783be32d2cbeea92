'use strict';

// `listen({ fd })` in a worker names a descriptor of the primary: one of the app, and none that rcluster has opened.

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { descriptorsOf } = require('../../testing/processes.js');

for (const POLICY of ['round-robin', 'none', 'kernel']) {
  test(`a worker can listen on a socket of the app, and on none of rcluster: ${POLICY}`, () =>
    withFixture('workers/numbers.js', { env: { POLICY } }, async (fixture) => {
      const { numbers, errors, own, tried } = await fixture.marker('found');
      assert.ok(numbers.includes(own), `${own} is not among ${numbers}`);
      // Duplicates of the app's socket, which may be closed by now, have other numbers.
      const open = descriptorsOf(fixture.pid);
      const sockets = [...open].filter(([, target]) => target.startsWith('socket:'));
      assert.ok(
        sockets.every(([number]) => number < tried),
        'all were tried',
      );
      const others = numbers.filter((number) => open.has(number) && open.get(number) !== open.get(own));
      assert.deepStrictEqual(others, []);
      assert.ok(
        Object.keys(errors).every((code) => ['EINVAL', 'ENOTSOCK'].includes(code)),
        JSON.stringify(errors),
      );
    }));
}
