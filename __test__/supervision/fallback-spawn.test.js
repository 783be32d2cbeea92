'use strict';

// Without the native part, too, a worker whose process cannot be started is a failure like others.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';

const BACKOFF = { initial: 10, max: 10 };

/** @param {Record<string, unknown>} settings */
function withSettings(settings) {
  return { listen: false, env: { SETTINGS: JSON.stringify(settings) } };
}

/** Node emits an error for the first of them, and throws one for the second. */
const WAYS = {
  'the working directory does not exist': { cwd: '/does/not/exist' },
  'the working directory is a file': { cwd: __filename },
};

for (const [way, settings] of Object.entries(WAYS)) {
  test(`a worker that cannot be spawned is retried, until it is given up: ${way}`, { skip }, () =>
    withFallback(
      { workers: 1, backoff: BACKOFF, restartIntensity: { max: 2 }, giveUpExitCode: 7 },
      async (app) => {
        for (let count = 0; count < 2; count++) {
          const { worker, slot, code, signal, reason, phase } = await app.marker('restart');
          assert.deepStrictEqual([worker, slot, code, signal, phase], [null, 0, null, null, 'start-up']);
          assert.match(reason, /^it could not be spawned: spawn/);
        }
        assert.strictEqual((await app.marker('gave-up')).worker, null);
        assert.deepStrictEqual(await app.exited, { code: 7, signal: null });
        assert.ok(app.marks.every(({ mark }) => mark !== 'spawn'));
      },
      withSettings(settings),
    ),
  );
}

test('a cluster whose workers cannot be spawned is shut down by SIGTERM', { skip }, () =>
  withFallback(
    { workers: 1, backoff: { initial: 60_000, max: 60_000 } },
    async (app) => {
      await app.marker('restart');
      app.tell('stats');
      assert.strictEqual((await app.marker('stats')).processes, 0);
      process.kill(app.pid, 'SIGTERM');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    },
    withSettings(WAYS['the working directory does not exist']),
  ),
);
