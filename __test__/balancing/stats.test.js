'use strict';

// schedulingStats() lacks the fields that are always 0 under the policies in force.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withLifecycle, Client } = require('../helpers/lifecycle.js');

const skip = isBuiltin && 'it has no statistics';

const COUNTS = ['handedOver', 'passed', 'reclaimed', 'returned'];
const WORKER = ['id', 'inFlight', 'open', 'slot', 'blocked', ...COUNTS].toSorted();
const LISTENER = ['accepted', 'id', 'name', 'queued', 'waiting', 'workers', ...COUNTS].toSorted();
const ANSWERS = { policy: 'round-robin', overload: { action: 'reset' } };

/**
 * @param {string} name
 * @param {unknown} scheduling
 * @param {{ listener?: string[], worker: string[]}} expected
 */
function has(name, scheduling, { listener, worker }) {
  test(name, { skip }, () =>
    withLifecycle(scheduling ? { SETTINGS: JSON.stringify({ scheduling }) } : {}, async (app) => {
      const client = new Client(app.target);
      await client.get();
      app.tell('stats');
      const { listeners, workers, hook } = await app.marker('stats');
      assert.deepStrictEqual(
        listeners.map((row) => Object.keys(row).toSorted()),
        listener ? [listener] : [],
      );
      for (const row of workers) assert.deepStrictEqual(Object.keys(row).toSorted(), worker);
      assert.strictEqual(hook, undefined);
      client.close();
    }),
  );
}

has('round robin', undefined, { listener: LISTENER, worker: WORKER });
has('with a way to turn clients away', ANSWERS, {
  listener: [...LISTENER, 'shed'].toSorted(),
  worker: WORKER,
});
has('none', 'none', { worker: ['id', 'slot'] });
