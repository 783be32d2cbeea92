'use strict';

const { withFixture } = require('./run-fixture.js');
const { exchange, hold } = require('../../testing/clients.js');

/**
 * @typedef {InstanceType<typeof import('../../testing/fixture.js').Fixture> & {
 *   target: { port: number, host: string },
 *   workers: { id: number, pid: number }[],
 *   ask: (what?: string) => ReturnType<typeof exchange>,
 *   stay: () => ReturnType<typeof hold>,
 *   listenerStats: () => Promise<any>,
 * }} App
 */

/**
 * Runs `fixtures/app.js`; see there for its variables and its commands. The body begins when all workers listen.
 * @template T
 * @param {import('../../testing/fixture.js').FixtureOptions} options
 * @param {(app: App) => Promise<T>} body
 */
function withApp(options, body) {
  return withFixture('app.js', options, async (fixture) => {
    const app = /** @type {App} */ (fixture);
    app.workers = [];
    for (let count = Number(options.env?.WORKERS ?? 2); count > 0; count--) {
      const { id, pid, port, address } = await fixture.marker('listening');
      app.target = { port, host: address };
      app.workers.push({ id, pid });
    }
    app.ask = (what = 'hello') => exchange(app.target, what);
    app.stay = () => {
      const client = hold(app.target);
      client.socket.write('stay');
      return client;
    };
    app.listenerStats = async () => {
      app.tell('stats');
      return (await app.marker('stats')).listeners[0];
    };
    return body(app);
  });
}

module.exports = { withApp };
