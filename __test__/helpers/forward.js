'use strict';

const { withFixture } = require('./run-fixture.js');
const { get } = require('../../testing/clients.js');

/**
 * @typedef {InstanceType<typeof import('../../testing/fixture.js').Fixture> & {
 *   target: { port: number, host: string } | { path: string },
 *   workers: { id: number, pid: number, port: number, address: string }[],
 *   get: (path?: string, body?: string) => Promise<string>,
 *   report: () => Promise<any>,
 * }} Forwarded
 */

/**
 * Runs `fixtures/forward.js`; see there for its variables and its commands. The body begins when all workers listen.
 * @template T
 * @param {import('../../index').ForwardOptions} forward
 * @param {Record<string, string>} env
 * @param {(app: Forwarded) => Promise<T>} body
 */
function withForward(forward, env, body) {
  const setting = forward.path === undefined ? { port: 0, host: '127.0.0.1', ...forward } : forward;
  return withFixture('forward.js', { env: { ...env, FORWARD: JSON.stringify(setting) } }, async (fixture) => {
    const app = /** @type {Forwarded} */ (fixture);
    const [{ address }] = await app.marker('forwarding');
    app.target = address.path === undefined ? { port: address.port, host: address.address } : address;
    app.workers = [];
    for (let count = Number(env.SETTINGS || env.WAIT ? 0 : (env.WORKERS ?? 2)); count > 0; count--) {
      app.workers.push(await app.marker('listening'));
    }
    app.get = async (path = '/', body = undefined) => {
      const method = body === undefined ? 'GET' : 'POST';
      const options = 'path' in app.target ? { socketPath: app.target.path } : app.target;
      return (await get({ ...options, path, method }, body)).body;
    };
    app.report = async () => {
      app.tell('report');
      return (await app.marker('report'))[0];
    };
    return body(app);
  });
}

module.exports = { withForward };
