'use strict';

// Supervision without the native part decides as with it: the same events, with the same facts, in the same order.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { fatal, withSupervised } = require('../../testing/supervised.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';

/** What is compared. How drains end differs, and so do the times and what only the native part can measure. */
const EVENTS = 'spawn restart backoff gave-up retire recycle reload stopped stopping shutdown'.split(' ');
const FACTS =
  'worker slot cause code signal phase delay restarts failures scope by slots concurrency reloaded gaveUp exitCode timeout'.split(
    ' ',
  );

const BACKOFF = { initial: 20, max: 60_000, jitter: 0 };
const CRASH = require.resolve('../../testing/apps/fates/crash');
const CRASHES = { listen: false, env: { FATE: CRASH } };
const NEVER_LISTENS = {
  listen: false,
  env: { FATE: require.resolve('../../testing/apps/fates/never-listen') },
};
const SCRIPT = require.resolve('../fixtures/supervision/leaving.js');

/** @typedef {import('../../testing/supervised.js').Supervised} Supervised */

/** @param {Supervised} app @param {number} slot */
function kill(app, slot) {
  process.kill(app.workers[slot].pid, 'SIGKILL');
}

/**
 * What happens to a cluster, which is shut down then unless the scenario ends it.
 * @type {Record<string, { options: object, others?: object, act: (app: Supervised) => Promise<unknown>, ends?: boolean }>}
 */
const SCENARIOS = {
  'a worker is killed': {
    options: { workers: 1 },
    act: (app) => {
      kill(app, 0);
      return app.marker('listening');
    },
  },
  'a worker is killed, and the next one, too, as often as allowed': {
    options: { workers: 2, restartIntensity: { max: 1, period: 60_000 } },
    act: async (app) => {
      kill(app, 0);
      app.workers[0] = await app.marker('listening');
      kill(app, 0);
      await app.marker('gave-up');
      app.tell('reload');
      await app.marker('done');
    },
  },
  'a worker retires': {
    options: { workers: 1 },
    act: async (app) => {
      app.tell('retire', { slot: 0, reason: 'tired' });
      await app.marker('listening');
      await app.marker('exit');
    },
  },
  'a worker retires that is not replaced': {
    options: { workers: 1, restart: 'never' },
    act: (app) => {
      app.tell('retire', { slot: 0, reason: 'tired' });
      return app.marker('stopped');
    },
  },
  'a worker ends with an exit code after which it is not replaced': {
    options: { workers: 1, stopExitCodes: [5] },
    act: async (app) => {
      await fatal(app, 'exit/5');
      await app.exited;
    },
    ends: true,
  },
  'a worker retires before it is ready': {
    options: { workers: 1, drainTimeout: 0, backoff: { ...BACKOFF, initial: 60_000 } },
    others: NEVER_LISTENS,
    act: async (app) => {
      await app.marker('spawn');
      app.tell('retire', { slot: 0, reason: 'tired' });
      await app.marker('backoff');
    },
  },
  'a worker disconnects': {
    options: { workers: 1 },
    others: { env: { SCRIPT, LEAVES: 'disconnect' } },
    act: async (app) => {
      app.tell('say ready', app.workers[0].id);
      await app.marker('exit');
      await app.marker('listening');
    },
  },
  'a worker disconnects that is replaced only after failures': {
    options: { workers: 1, restart: 'on-failure' },
    others: { env: { SCRIPT, LEAVES: 'disconnect' } },
    act: (app) => {
      app.tell('say ready', app.workers[0].id);
      return app.marker('stopped');
    },
  },
  'a worker is not ready in time': {
    options: { workers: 1, readyTimeout: 200, backoff: { ...BACKOFF, initial: 60_000 } },
    others: NEVER_LISTENS,
    act: (app) => app.marker('backoff'),
  },
  'a worker has finished': {
    options: { workers: 1, restart: 'on-failure' },
    act: async (app) => {
      await fatal(app, 'exit/0');
      await app.marker('stopped');
    },
  },
  'the program cannot start': {
    options: { workers: 1, backoff: BACKOFF, restartIntensity: { max: 2, period: 60_000 } },
    others: CRASHES,
    act: (app) => app.exited,
    ends: true,
  },
  'no process can be spawned': {
    options: { workers: 1, backoff: BACKOFF, restartIntensity: { max: 1, period: 60_000 } },
    others: { listen: false, env: { SETTINGS: JSON.stringify({ cwd: '/does/not/exist' }) } },
    act: (app) => app.exited,
    ends: true,
  },
  'a reload succeeds': {
    options: { workers: 2 },
    act: (app) => {
      app.tell('reload');
      return app.marker('done');
    },
  },
  'a reload fails': {
    options: { workers: 2 },
    act: (app) => {
      app.tell('environment', { FATE: CRASH });
      app.tell('reload', { concurrency: 1 });
      return app.marker('failed');
    },
  },
  'the cluster is scaled': {
    options: { workers: 1 },
    act: async (app) => {
      for (const workers of [2, 2, 1]) {
        app.tell('scale', workers);
        await app.marker('done');
      }
    },
  },
  'a scaling fails': {
    options: { workers: 1, backoff: { ...BACKOFF, initial: 60_000 } },
    act: async (app) => {
      app.tell('environment', { FATE: CRASH });
      // So that new workers are started with it.
      app.tell('reload');
      await app.marker('failed');
      app.tell('scale', 2);
      await app.marker('failed');
      await app.marker('backoff');
    },
  },
  'a shutdown is announced': {
    options: { workers: 1 },
    act: async (app) => {
      app.tell('shutdown', { delay: 60_000 });
      await app.marker('stopping');
      app.tell('reload');
      await app.marker('failed');
      app.tell('scale', 2);
      await app.marker('failed');
      // Both requests are answered.
      app.tell('shutdown');
      for (let count = 0; count < 2; count++) await app.marker('done');
    },
    ends: true,
  },
  'a shutdown finds no worker': {
    options: { workers: 1, backoff: { ...BACKOFF, initial: 60_000 } },
    others: CRASHES,
    act: (app) => app.marker('backoff'),
  },
};

/**
 * The events, and apart from them the answers: the order of the two depends on when promises are handled.
 * @param {Supervised} app
 */
function eventsOf({ output }) {
  const marks = [...output.matchAll(/^\(mark (.*)\)$/gm)].map(([, json]) => JSON.parse(json));
  const described = marks.map(({ mark, data = {} }) => {
    const facts = FACTS.filter((name) => name in data).map((name) => [name, data[name]]);
    // Why a process could not be spawned is said by different functions of the system.
    const reason = (data.reason ?? data.message)?.replace(/(could not be spawned): .*/, '$1');
    return { mark, ...Object.fromEntries(facts), ...(reason && { reason }) };
  });
  return {
    events: described.filter(({ mark }) => EVENTS.includes(mark)),
    answers: described.filter(({ mark }) => mark === 'done' || mark === 'failed'),
  };
}

for (const [name, { options, others, act, ends }] of Object.entries(SCENARIOS)) {
  test(name, { skip }, async () => {
    /** @param {Supervised} app */
    const play = async (app) => {
      for (const _ of app.workers) await app.marker('ready');
      await act(app);
      if (!ends) {
        app.tell('shutdown');
        await app.marker('shutdown');
        await app.marker('done');
      }
      return eventsOf(app);
    };
    const settings = /** @type {any} */ ({ control: 'off', ...options });
    const expected = await withSupervised(settings, play, others);
    assert.ok(expected.events.length > 1);
    assert.deepStrictEqual(await withFallback(settings, play, others), expected);
  });
}
