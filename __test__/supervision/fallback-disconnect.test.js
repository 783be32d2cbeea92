'use strict';

// Without the native part, cluster.disconnect() of a supervised cluster ends the workers that the app has forked itself, too.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withFixture } = require('../helpers/run-fixture.js');

const skip = isBuiltin && 'the built-in has no supervision';

test('cluster.disconnect() calls back when no worker is left', { skip }, () =>
  withFixture('supervision/own-worker.js', { env: { RCLUSTER_FALLBACK: '1' } }, async (fixture) => {
    assert.deepStrictEqual(await fixture.marker('disconnected'), []);
    for (let count = 0; count < 2; count++) {
      assert.deepStrictEqual(await fixture.marker('exit'), { code: 0, exitedAfterDisconnect: true });
    }
    assert.deepStrictEqual(await fixture.exited, { code: 0, signal: null });
  }),
);
