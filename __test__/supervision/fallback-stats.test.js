'use strict';

// Without the native part, too, the statistics say how the last worker of a slot has ended.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';

test('lastExit has the exit and its cause', { skip }, () =>
  withFallback({ workers: 2 }, async (app) => {
    const [killed, retired] = app.workers;
    process.kill(killed.pid, 'SIGKILL');
    await app.marker('listening');
    app.tell('retire', { slot: 1, reason: 'tired' });
    // Of the killed one, and of the retired one.
    for (let count = 0; count < 2; count++) await app.marker('exit');
    app.tell('stats');
    const exits = (await app.marker('stats')).slots.map(({ lastExit: { at, ...last } }) => {
      assert.ok(at > 0 && at <= Date.now());
      return last;
    });
    const common = { error: null, stderrTail: null };
    assert.deepStrictEqual(exits, [
      {
        ...common,
        worker: killed.id,
        pid: killed.pid,
        code: null,
        signal: 'SIGKILL',
        reason: 'signal',
        detail: 'it ended by SIGKILL',
      },
      {
        ...common,
        worker: retired.id,
        pid: retired.pid,
        code: 0,
        signal: null,
        reason: 'exit',
        detail: 'it retired (tired)',
      },
    ]);
  }),
);

test('lastExit tells that a worker has failed to start', { skip }, () =>
  withFallback(
    { workers: 1, backoff: { initial: 60_000, max: 60_000 } },
    async (app) => {
      await app.marker('backoff');
      app.tell('stats');
      const { reason, detail, code } = (await app.marker('stats')).slots[0].lastExit;
      assert.deepStrictEqual([reason, detail, code], ['startup', 'it ended with exit code 3', 3]);
    },
    { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/crash') } },
  ),
);
