'use strict';

// A worker whose JavaScript has ended receives no connection in the time that its process still takes.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in loses such a client';
const CLIENTS = 16;

for (const policy of ['round-robin', 'kernel']) {
  test(`clients of a worker that is ending are served by another one: ${policy}`, { skip }, () =>
    withApp({ env: { SCHEDULING: JSON.stringify({ policy }) } }, async (app) => {
      const [ending, staying] = app.workers;
      const file = (name) => path.join(app.directory, name);
      app.tell('tell', { id: ending.id, command: 'run-empty', ending: file('ending'), until: file('end') });
      await until('its event loop is empty', () => fs.existsSync(file('ending')));
      // Otherwise it would take over the clients of the other one before that has ended.
      app.tell('tell', { id: staying.id, command: 'block', until: file('go') });
      await app.marker('worker blocked');
      const clients = Array.from({ length: CLIENTS }, () => app.ask());
      for (const client of clients) await client.connected;
      if (policy === 'round-robin') {
        // Each worker has at least one in its channel. The others wait if they came after the workers were found blocked.
        await until('they are accepted', async () => {
          const { accepted, passed } = await app.listenerStats();
          return accepted >= CLIENTS && passed >= app.workers.length;
        });
      }
      fs.writeFileSync(file('end'), '');
      await app.marker('exit');
      fs.writeFileSync(file('go'), '');
      for (const { outcome, text } of await Promise.all(clients)) {
        assert.deepStrictEqual([outcome, text], ['answered', `${staying.id} hello`]);
      }
    }),
  );
}
