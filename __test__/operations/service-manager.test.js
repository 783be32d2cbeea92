'use strict';

// Sockets that a service manager has opened for the service, and listeners that it keeps while the service is restarted.

const assert = require('node:assert');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { withoutPython } = require('../helpers/python.js');
const { withServiceManager } = require('../helpers/service-manager.js');
const { freePorts } = require('../../testing/ports.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = (isBuiltin && 'the built-in has no command') || withoutPython;

/** Listens at the address LISTEN, and answers with facts about itself. */
const APP = `
const fs = require('node:fs');
const http = require('node:http');
const places = JSON.parse(process.env.PLACES);
const servers = places.map((place) => http.createServer((request, response) => {
  if (request.url === '/close') return response.end('closing', () => servers[0].close());
  const sockets = fs.readdirSync('/proc/self/fd').flatMap((fd) => {
    try { return [fs.readlinkSync('/proc/self/fd/' + fd)]; } catch { return []; }
  });
  const variables = Object.keys(process.env).filter((name) => /^(LISTEN_|NOTIFY_|WATCHDOG_|FDSTORE)/.test(name));
  response.end(JSON.stringify({ pid: process.pid, variables, sockets }));
}).listen(place));
setInterval(() => {}, 1000);
`;

/** @param {object} target @param {string} [url] @returns {Promise<any>} */
async function ask(target, url = '/') {
  const [response] = await once(http.get({ ...target, path: url, agent: false }), 'response');
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  return text.startsWith('{') ? JSON.parse(text) : text;
}

const isReady = (/** @type {any} */ message) => message.notified?.READY === '1';
const isStored = (/** @type {any} */ message) => message.notified?.FDSTORE === '1' && message;
const stored = (/** @type {import('../helpers/service-manager.js').Manager} */ { told }) =>
  told.filter(isStored);
const removed = (/** @type {import('../helpers/service-manager.js').Manager} */ { told }) =>
  told.filter(({ notified }) => notified?.FDSTOREREMOVE === '1');

test('servers get the sockets that are passed for their addresses', { skip }, async () => {
  const [port] = await freePorts(1);
  /** What it has written to stderr, complete when its manager has ended. @type {() => string} */
  let said;
  const both = { kind: /** @type {const} */ ('tcp'), host: '::', port };
  await withServiceManager(
    (directory) => ({
      app: APP,
      listen: [
        { kind: 'tcp', host: '127.0.0.1', port },
        { kind: 'tcp', host: '::1', port, only: true },
        { kind: 'unix', path: path.join(directory, 'app.sock') },
      ],
      env: {
        PLACES: JSON.stringify([
          { host: '127.0.0.1', port },
          { host: '::1', port },
          { path: path.join(directory, 'app.sock') },
        ]),
      },
      options: ['-w', '2'],
    }),
    async ({ directory, listening, tell, next, errors, told }) => {
      tell('start');
      await next('that it is ready', isReady);
      for (const target of [
        { host: '127.0.0.1', port },
        { host: '::1', port },
        { socketPath: path.join(directory, 'app.sock') },
      ]) {
        const { variables, sockets } = await ask(target);
        assert.deepStrictEqual(variables, [], 'workers do not get the variables');
        const shared = listening.filter(({ inode }) => sockets.includes(`socket:[${inode}]`));
        assert.deepStrictEqual(shared, [], 'nor the sockets');
      }
      tell('SIGTERM');
      assert.strictEqual(await next('its end', ({ ended }) => ended ?? false), 0);
      assert.ok(fs.existsSync(path.join(directory, 'app.sock')), 'the file is the manager’s');
      assert.deepStrictEqual(stored({ told }), [], 'what the manager has opened it keeps anyway');
      said = errors;
    },
  );
  assert.strictEqual(said().includes('RCLUSTER_'), false, said());
  await withServiceManager(
    () => ({ app: APP, listen: [both], env: { PLACES: JSON.stringify([{ port }]) }, options: ['-w', '1'] }),
    async ({ tell, next }) => {
      tell('start');
      await next('that it is ready', isReady);
      await ask({ host: '127.0.0.1', port });
    },
  );
});

test(
  'a socket that no server uses is reported, and one for another process is ignored',
  { skip },
  async () => {
    const [port] = await freePorts(1);
    /** @type {() => string} */
    let said;
    const listen = [{ kind: /** @type {const} */ ('tcp'), host: '127.0.0.1', name: 'web.socket' }];
    const env = { PLACES: JSON.stringify([{ host: '127.0.0.1', port }]) };
    await withServiceManager(
      () => ({ app: APP, listen, env, options: ['-w', '1'] }),
      async ({ listening, tell, next, errors }) => {
        tell('start');
        await next('that it is ready', isReady);
        await until('it is told', () => errors().includes('RCLUSTER_PASSED_SOCKET'));
        assert.match(
          errors(),
          new RegExp(`127\\.0\\.0\\.1:${listening[0].port}.*descriptor 3 \\(web\\.socket\\)`),
        );
      },
    );
    await withServiceManager(
      () => ({ app: APP, listen, env, options: ['-w', '1'], pid: process.pid }),
      async ({ tell, next, errors }) => {
        tell('start');
        await next('that it is ready', isReady);
        await ask({ host: '127.0.0.1', port });
        tell('SIGTERM');
        assert.strictEqual(await next('its end', ({ ended }) => ended ?? false), 0);
        said = errors;
      },
    );
    assert.strictEqual(said().includes('RCLUSTER_PASSED_SOCKET'), false, said());
  },
);

test('a listener is kept by the manager while the service is killed or restarted', { skip }, async () => {
  const [port] = await freePorts(1);
  const target = { host: '127.0.0.1', port };
  await withServiceManager(
    () => ({ app: APP, env: { PLACES: JSON.stringify([target]) }, options: ['-w', '2'] }),
    async (manager) => {
      const { tell, next } = manager;
      tell('start');
      const { descriptors, notified } = await next('a socket to keep', isStored);
      assert.deepStrictEqual([descriptors, notified.FDNAME], [1, `rcluster.127.0.0.1.${port}`]);
      await next('that it is ready', isReady);
      let { pid } = await ask(target);
      for (const signal of ['SIGKILL', 'SIGTERM']) {
        tell(signal);
        assert.strictEqual(
          await next('its end', ({ ended }) => ended ?? false),
          signal === 'SIGKILL' ? -9 : 0,
        );
        // No process accepts, and this client waits.
        const client = net.connect(target);
        await once(client, 'connect');
        client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
        tell('start');
        let answer = '';
        for await (const piece of client.setEncoding('utf8')) answer += piece;
        const now = JSON.parse(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1));
        assert.notStrictEqual(now.pid, pid);
        ({ pid } = now);
        await next('that it is ready', isReady);
      }
      assert.deepStrictEqual([stored(manager).length, removed(manager).length], [1, 0], 'once, and for good');
      tell('SIGHUP');
      await next('a reload', (message) => message.notified?.RELOADING === '1');
      await next('its end', isReady);
      await ask(target);
      assert.deepStrictEqual([stored(manager).length, removed(manager).length], [1, 0]);

      assert.strictEqual(await ask(target, '/close'), 'closing');
      await ask(target, '/close').catch(() => {});
      await next('that it is closed', (message) => message.notified?.FDSTOREREMOVE === '1');
      await until('nobody listens there', () =>
        ask(target).then(
          () => false,
          ({ code }) => code === 'ECONNREFUSED',
        ),
      );
    },
  );
});

test('a listener that the service no longer opens is not kept', { skip }, async () => {
  const [before, after] = await freePorts(2);
  const at = (/** @type {number} */ port) => ({ PLACES: JSON.stringify([{ host: '127.0.0.1', port }]) });
  await withServiceManager(
    () => ({ app: APP, env: at(before), options: ['-w', '1'] }),
    async (manager) => {
      const { tell, next, errors } = manager;
      tell('start');
      await next('that it is ready', isReady);
      tell('SIGKILL');
      await next('its end', ({ ended }) => ended === -9);
      tell(at(after));
      tell('start');
      await next('that it is ready', isReady);
      await ask({ host: '127.0.0.1', port: after });
      await until('the old one is closed', () => removed(manager).length === 1);
      await until('it is told', () => errors().includes('RCLUSTER_PASSED_SOCKET'));
      await assert.rejects(ask({ host: '127.0.0.1', port: before }), { code: 'ECONNREFUSED' });
      assert.deepStrictEqual(manager.told.findLast(({ stored: names }) => names).stored, [
        `rcluster.127.0.0.1.${after}`,
      ]);
    },
  );
});
