'use strict';

// Signals to workers without the native part: the terminal and service managers signal the whole process group.

const assert = require('node:assert');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { statusOf, until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withFallback } = require('../helpers/fallback.js');

const skip = isBuiltin && 'the built-in has no supervision';
const SCRIPT = require.resolve('../fixtures/supervision/echo.js');

/**
 * Begins a request, which a worker answers in part.
 * @param {import('../../testing/supervised.js').Supervised} app
 * @returns {Promise<() => Promise<string>>} ends the request, and gives the whole answer
 */
async function begin({ target }) {
  const request = http.request({ ...target, method: 'POST', agent: false });
  request.write('begun, ');
  const [response] = await once(request, 'response');
  response.setEncoding('utf8');
  let [text] = await once(response, 'data');
  return async () => {
    request.end('ended');
    for await (const piece of response) text += piece;
    return text;
  };
}

/**
 * The first worker answers its request to the end, and exits.
 * @param {import('../../testing/supervised.js').Supervised} app
 * @param {() => Promise<string>} end
 */
async function finishes(app, end) {
  assert.strictEqual(await end(), 'begun, ended');
  const { id, code } = await app.marker('exit');
  assert.deepStrictEqual([id, code], [app.workers[0].id, 0]);
}

/** @param {import('../../testing/supervised.js').Supervised} app */
async function factsOf({ target }) {
  return JSON.parse((await get({ ...target, path: '/' })).body);
}

test('a worker ignores SIGINT, SIGQUIT and SIGHUP, also if the app does not load rcluster', { skip }, () =>
  withFallback(
    { workers: 1 },
    async (app) => {
      const [{ pid }] = app.workers;
      const end = await begin(app);
      for (const signal of ['SIGINT', 'SIGQUIT', 'SIGHUP']) process.kill(pid, signal);
      assert.strictEqual(await end(), 'begun, ended');
      assert.deepStrictEqual(await factsOf(app), { pid, execArgv: [] });
    },
    { env: { SCRIPT } },
  ),
);

test('a worker that gets SIGTERM drains, and is replaced', { skip }, () =>
  withFallback(
    { workers: 1 },
    async (app) => {
      const end = await begin(app);
      process.kill(app.workers[0].pid, 'SIGTERM');
      const { worker, reason, by } = await app.marker('retire');
      assert.deepStrictEqual([worker, reason, by], [app.workers[0].id, 'SIGTERM', 'worker']);
      assert.strictEqual((await app.marker('listening')).slot, 0);
      await finishes(app, end);
    },
    { env: { SCRIPT } },
  ),
);

test('an app that exits after a signal does not cut the drain short', { skip }, () =>
  withFallback(
    { workers: 1 },
    async (app) => {
      const end = await begin(app);
      process.kill(app.workers[0].pid, 'SIGINT');
      assert.strictEqual((await app.marker('retire')).worker, app.workers[0].id);
      await app.marker('listening');
      await finishes(app, end);
    },
    { env: { SCRIPT, CLEANS_UP: 'SIGINT' } },
  ),
);

for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
  test(`${signal} to all processes is a shutdown, and loses no request`, { skip }, () =>
    withFallback(
      { workers: 2 },
      async (app) => {
        const end = await begin(app);
        process.kill(-app.pid, signal);
        assert.strictEqual((await app.marker('shutdown')).signal, signal);
        assert.strictEqual(await end(), 'begun, ended');
        assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
        assert.ok(!app.marks.some(({ mark }) => mark === 'restart' || mark === 'retire'));
      },
      { env: { SCRIPT } },
    ),
  );
}

test('the primary survives an order to a worker that has ended at that moment', { skip }, () =>
  withFallback({ workers: 2 }, async (app) => {
    const goOn = app.inDirectory('go on');
    app.tell('block', goOn);
    await app.marker('blocked');
    // It reads the order before it learns of the end.
    app.tell('shutdown');
    const [{ pid }] = app.workers;
    process.kill(pid, 'SIGKILL');
    await until('it has ended', () => statusOf(pid)?.state === 'Z');
    fs.writeFileSync(goOn, '');
    await app.marker('done');
    assert.strictEqual(app.exit, null);
  }),
);
