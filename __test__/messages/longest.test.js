'use strict';

// The part of an incomplete message that the primary stores is limited.

const assert = require('node:assert');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin } = require('../../testing/subject.js');

for (const SERIALIZATION of ['json', 'advanced']) {
  test(
    `a long message arrives, and an endless one closes the channel of the worker (${SERIALIZATION})`,
    {
      skip: isBuiltin && 'the built-in reads on',
    },
    () =>
      withFixture('messages/longest.js', { env: { SERIALIZATION } }, async (fixture) => {
        assert.strictEqual(await fixture.marker('long'), 100 * 2 ** 20);
        const { code, message } = await fixture.marker('warning');
        assert.strictEqual(code, 'RCLUSTER_PROTOCOL');
        assert.match(message, /^Worker 1 .*: it is longer than 128 MiB$/);
        await fixture.marker('exit');
      }),
  );
}
