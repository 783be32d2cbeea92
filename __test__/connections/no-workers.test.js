'use strict';

// For a while there is no worker at all.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');

for (const count of [1, 3]) {
  test(`with ${count} of ${count} workers killed, clients wait for the next`, () =>
    withApp(
      {
        env: { WORKERS: String(count), REFORK: 'yes', WAIT_FOR: 'go' },
      },
      async (app) => {
        for (const { pid } of app.workers) process.kill(pid, 'SIGKILL');
        for (const worker of app.workers) {
          assert.strictEqual((await app.marker('exit')).signal, 'SIGKILL', `worker ${worker.id}`);
        }
        // The replacements do not start before they are allowed to.
        const clients = Array.from({ length: 100 }, () => app.ask());
        await Promise.all(clients.map((client) => client.connected));
        fs.writeFileSync(path.join(app.directory, 'go'), '');
        const results = await Promise.all(clients);
        assert.deepStrictEqual(
          results.filter(({ outcome }) => outcome !== 'answered'),
          [],
        );
        for (const { text } of results) {
          assert.ok(Number.parseInt(text, 10) > count, `answered by worker ${text}`);
        }
      },
    ));
}
