'use strict';

// Apps that clean up on SIGTERM, and know nothing of rcluster: their listeners run once, when there is nothing left to serve.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withSupervised } = require('../../testing/supervised.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';
const SCRIPT = path.join(__dirname, '..', 'fixtures', 'supervision', 'signal-handler.js');
const OPTIONS = { drainTimeout: 60_000, killTimeout: 60_000 };

/**
 * What the worker has noted.
 * @param {import('../../testing/supervised.js').Supervised} app
 * @param {number} pid
 */
function notesOf(app, pid) {
  const lines = fs.readFileSync(app.inDirectory('log'), 'utf8').split('\n');
  return lines.filter((line) => line.startsWith(`${pid} `)).map((line) => line.slice(`${pid} `.length));
}

for (const [kind, run] of /** @type {const} */ ([
  ['with the native part', withSupervised],
  ['without it', withFallback],
])) {
  const start = (/** @type {string} */ HOW, /** @type {number} */ workers, /** @type {any} */ body) =>
    run({ ...OPTIONS, workers }, body, { env: { SCRIPT, HOW } });

  test(`${kind}, a listener runs after the last answer, and close() succeeds`, { skip }, () =>
    start('exit', 1, async (app) => {
      const [{ pid }] = app.workers;
      const answer = get({ ...app.target, path: '/slow' });
      await app.marker('asked');
      process.kill(app.pid, 'SIGTERM');
      await app.marker('shutdown');
      process.kill(pid, 'SIGUSR2');
      assert.strictEqual((await answer).body, 'slow');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
      assert.deepStrictEqual(notesOf(app, pid), ['answered', 'SIGTERM 15', 'closed undefined']);
    }),
  );

  test(`${kind}, it runs in each worker that a reload replaces`, { skip }, () =>
    start('exit', 2, async (app) => {
      app.tell('reload');
      for (let count = 0; count < 2; count++) await app.marker('exit');
      for (const { pid } of app.workers) {
        assert.deepStrictEqual(notesOf(app, pid), ['SIGTERM 15', 'closed undefined']);
      }
    }),
  );

  test(`${kind}, it runs once if all processes get the signal`, { skip }, () =>
    start('exit', 2, async (app) => {
      for (const { pid } of [...app.workers, app]) process.kill(pid, 'SIGTERM');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
      for (const { pid } of app.workers) {
        assert.deepStrictEqual(notesOf(app, pid), ['SIGTERM 15', 'closed undefined']);
      }
    }),
  );

  test(`${kind}, without a listener of SIGTERM, that of SIGINT runs`, { skip }, () =>
    run(
      { ...OPTIONS, workers: 1 },
      async (app) => {
        const [{ pid }] = app.workers;
        process.kill(app.pid, 'SIGTERM');
        assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
        assert.deepStrictEqual(notesOf(app, pid), ['SIGINT 2', 'closed undefined']);
      },
      { env: { SCRIPT, HOW: 'exit', SIGNAL: 'SIGINT' } },
    ),
  );

  for (const [how, code, notes] of /** @type {const} */ ([
    ['raise', 0, []],
    ['nothing', 0, []],
    ['flush', 0, ['flushed']],
    ['disconnect', 0, []],
    ['throw', 1, []],
  ])) {
    test(`${kind}, a listener with "${how}" ends with ${code}`, { skip }, () =>
      start(how, 1, async (app) => {
        const [{ pid }] = app.workers;
        process.kill(app.pid, 'SIGTERM');
        assert.deepStrictEqual((({ code, signal }) => ({ code, signal }))(await app.marker('exit')), {
          code,
          signal: null,
        });
        assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
        assert.deepStrictEqual(notesOf(app, pid), ['SIGTERM 15', ...notes]);
      }),
    );
  }
}

test('what still holds a worker is reported before it cleans up', { skip }, () =>
  withSupervised(
    { ...OPTIONS, workers: 1 },
    async (app) => {
      process.kill(app.pid, 'SIGTERM');
      const { resources } = await app.marker('drained');
      // What runs the listeners is not the app's.
      assert.strictEqual(resources.Immediate, undefined, JSON.stringify(resources));
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    },
    { env: { SCRIPT, HOW: 'exit' } },
  ),
);
