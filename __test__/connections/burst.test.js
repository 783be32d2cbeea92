'use strict';

// Five thousand clients at once: none is refused and none is lost.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { exchange } = require('../../testing/clients.js');
const { DEADLINE } = require('../../testing/processes.js');

for (const policy of ['round-robin', 'least-connections', 'least-loaded', 'kernel']) {
  test(policy, () =>
    withApp({ env: { SCHEDULING: JSON.stringify(policy) } }, async (app) => {
      const clients = Array.from({ length: 5000 }, () => exchange(app.target, 'hello', DEADLINE));
      const outcomes = {};
      for (const { outcome } of await Promise.all(clients)) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      assert.deepStrictEqual(outcomes, { answered: 5000 });
    }),
  );
}
