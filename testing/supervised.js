'use strict';

const path = require('node:path');
const { withFixture } = require('./fixture.js');
const { get } = require('./clients.js');
const { until } = require('./processes.js');

/** The app that it runs. */
const APP = path.join(__dirname, 'apps', 'supervised.js');

/**
 * @typedef {InstanceType<typeof import('./fixture.js').Fixture> & {
 *   target: { port: number, host: string },
 *   workers: { id: number, slot: number, pid: number }[],
 *   ask: (page: string) => Promise<string>,
 *   who: () => Promise<{ id: number, slot: string, pid: number, generation?: string }>,
 *   inDirectory: (name: string) => string,
 * }} Supervised
 */

/**
 * Runs `apps/supervised.js`; see there for its commands. The body begins when all workers listen, which is
 * when `workers` has them by slot, or at once if `options` prevent that.
 * @template T
 * @param {Record<string, unknown> & { workers: number }} options of supervise()
 * @param {(app: Supervised) => Promise<T>} body
 * @param {import('./fixture.js').FixtureOptions & { listen?: boolean }} [fixtureOptions]
 */
function withSupervised(options, body, { listen = true, ...fixtureOptions } = {}) {
  const env = { OPTIONS: JSON.stringify(options), ...fixtureOptions.env };
  return withFixture(APP, { ...fixtureOptions, env }, async (fixture) => {
    const app = /** @type {Supervised} */ (/** @type {unknown} */ (fixture));
    app.workers = [];
    for (let count = listen ? options.workers : 0; count > 0;) {
      const { port, ...worker } = await app.marker('listening');
      // Standbys listen as well.
      if (worker.slot === undefined) continue;
      app.target = { port, host: '127.0.0.1' };
      app.workers[worker.slot] = worker;
      count--;
    }
    app.ask = async (page) => (await get({ ...app.target, path: `/${page}` })).body;
    app.who = async () => JSON.parse(await app.ask('who'));
    app.inDirectory = (name) => path.join(fixture.directory, name);
    return body(app);
  });
}

/**
 * Waits for a standby that is ready to take over a slot, and returns it. Standbys start with the other
 * workers, but nothing else waits for them.
 * @param {Supervised} app
 * @returns {Promise<{ worker: number, pid: number }>}
 */
function standbyOf(app) {
  return until('a standby is ready', async () => {
    const ready = await app.marker('ready');
    return ready.slot === null && ready;
  });
}

/**
 * Requests a page that is never answered, because the worker that receives it dies.
 * @param {Supervised} app
 * @param {string} page
 */
async function fatal(app, page) {
  const outcome = await app.ask(page).then(
    (body) => `answered with ${JSON.stringify(body)}`,
    () => 'failed',
  );
  if (outcome !== 'failed') throw new Error(`/${page} was ${outcome}`);
}

module.exports = { withSupervised, standbyOf, fatal };
