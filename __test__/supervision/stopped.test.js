'use strict';

// A primary whose workers have all been stopped is kept alive by what is started after that, and by nothing else.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { hold } = require('../../testing/clients.js');
const { isBuiltin } = require('../../testing/subject.js');
const { fatal, withSupervised } = require('../../testing/supervised.js');
const { withFallback } = require('../helpers/fallback.js');

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'supervision', 'stopped.js');
const skip = isBuiltin && 'the built-in does not supervise';

/** @param {Record<string, string>} env */
function restarts(env) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-stopped-'));
  try {
    const { status, stderr } = spawnSync(process.execPath, [PROGRAM], {
      encoding: 'utf8',
      env: { ...process.env, CONTROL: path.join(directory, 'rcluster.sock'), ...env },
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    assert.strictEqual(status, 5, stderr);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

test('the restart of a worker that a reload has started', { skip }, () => restarts({ ACT: 'reload' }));

test('the restart of a worker that an operator has started', { skip }, () => restarts({ ACT: 'operator' }));

/** @type {[string, typeof withSupervised][]} */
const IMPLEMENTATIONS = [
  ['', withSupervised],
  ['without the native part: ', withFallback],
];

for (const [name, run] of IMPLEMENTATIONS) {
  test(`${name}nothing, when the last slot with a worker is gone`, { skip }, () =>
    run({ workers: 2, restart: 'on-failure', drainTimeout: 60_000 }, async (app) => {
      // One for each worker.
      const clients = [hold(app.target), hold(app.target)];
      for (const { socket, text } of clients) {
        socket.write('GET /wait HTTP/1.1\r\nHost: x\r\n\r\n');
        await text;
      }
      app.tell('scale', 1);
      await app.marker('draining');
      await fatal(app, 'exit/0');
      assert.strictEqual((await app.marker('stopped')).slot, 0);
      for (const client of clients) await client.close();
      await app.marker('done');
      app.tell('let go');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    }),
  );
}
