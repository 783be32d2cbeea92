'use strict';

// HTTP servers without code for clusters, each on an address of its own behind one of the primary's.

const assert = require('node:assert');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { withForward } = require('../helpers/forward.js');
const { withDirectory } = require('../../testing/directories.js');
const { until } = require('../../testing/processes.js');

for (const to of /** @type {const} */ (['port', 'path'])) {
  test(`workers take turns, each on a ${to} of its own`, () =>
    withForward({ to }, {}, async (app) => {
      const [one, two] = app.workers;
      assert.notStrictEqual(to === 'port' ? one.port : one.address, to === 'port' ? two.port : two.address);
      const counts = {};
      for (let i = 0; i < 20; i++) {
        const [id] = (await app.get()).split(' ');
        counts[id] = (counts[id] ?? 0) + 1;
      }
      assert.deepStrictEqual(counts, { 1: 10, 2: 10 });
      assert.strictEqual((await app.get('/post', 'x'.repeat(3_000_000))).split(' ')[2], '3000000');
      const { accepted, turnedAway, workers } = await until('all connections are over', async () => {
        const report = await app.report();
        return report.connections === 0 && report;
      });
      assert.deepStrictEqual({ accepted, turnedAway }, { accepted: 21, turnedAway: 0 });
      assert.deepStrictEqual(workers.map(({ id }) => id).sort(), [1, 2]);
    }));
}

test('the own port of a worker belongs to it alone, and is open to this machine only', () =>
  withForward({ to: 'port' }, {}, async ({ workers }) => {
    for (const { port } of workers) {
      const direct = net.connect({ port, host: '127.0.0.1' });
      await new Promise((resolve) => direct.once('connect', resolve));
      direct.destroy();
    }
    const outside = Object.values(os.networkInterfaces())
      .flat()
      .find(({ internal, family }) => !internal && family === 'IPv4');
    if (!outside) return;
    const refused = net.connect({ port: workers[0].port, host: outside.address });
    assert.strictEqual((await new Promise((resolve) => refused.once('error', resolve))).code, 'ECONNREFUSED');
  }));

test('clients of a Unix socket are forwarded', () =>
  withDirectory((directory) =>
    withForward({ path: path.join(directory, 'app.sock'), to: 'path' }, {}, async (app) => {
      assert.match(await app.get('/unix'), /^[12] \/unix 0$/);
    }),
  ));

test('keep-alive and an upgrade work, with bytes in both directions', () =>
  withForward({ to: 'path' }, {}, async ({ target }) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ask = () =>
      new Promise((resolve, reject) => {
        http
          .get({ ...target, agent }, (response) => {
            response.setEncoding('utf8').once('data', resolve);
          })
          .on('error', reject);
      });
    const first = await ask();
    for (let i = 0; i < 10; i++) assert.strictEqual(await ask(), first, 'a connection stays where it is');
    agent.destroy();

    const request = http.get({ ...target, headers: { connection: 'Upgrade', upgrade: 'echo' } });
    const [response, socket] = await new Promise((resolve, reject) => {
      request.on('upgrade', (...args) => resolve(args));
      request.on('error', reject);
    });
    assert.strictEqual(response.statusCode, 101);
    let echoed = 0;
    const sent = 5_000_000;
    socket.on('data', (chunk) => {
      echoed += chunk.length;
    });
    socket.end(Buffer.alloc(sent, 'ping'));
    await new Promise((resolve) => socket.once('end', resolve));
    assert.strictEqual(echoed, sent, 'half-closed by the client, and every byte comes back');
  }));

test('the PROXY protocol carries the address of the client', () =>
  withForward({ proxyProtocol: 1 }, {}, async ({ target }) => {
    // The server does not support the protocol; its error about the line is enough here. The client sends
    // nothing: the server closes at once, and unread data would turn its end into a reset, which may overtake
    // the answer.
    const socket = net.connect(target);
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    await new Promise((resolve) => socket.once('close', resolve));
    assert.match(text, /^HTTP\/1.1 400/);
  }));

test('invalid options throw when they are set', () =>
  withForward({}, {}, async (app) => {
    app.tell('again');
    assert.deepStrictEqual(await app.marker('again'), { code: 'ERR_RCLUSTER_FORWARDING' });
    const { createPrimary } = require('../../lib/primary');
    const { EventEmitter } = require('node:events');
    const other = createPrimary(new EventEmitter());
    for (const [forward, pattern] of [
      [{}, /port/],
      [{ port: -1 }, /port/],
      [{ port: 1, host: 'localhost' }, /IP address/],
      [{ port: 1, to: 'tcp' }, /'port' or 'path'/],
      [{ port: 1, proxyProtocol: 3 }, /false, 1 or 2/],
      [{ port: 1, policy: 'least-loaded' }, /one of round-robin/],
      [{ port: 1, idleTimeout: 0.5 }, /idleTimeout/],
      [{ port: 1, env: 'A=B' }, /environment/],
      [[{ port: 0 }, { port: 0 }], /another one/],
      [[], /at least one address/],
      [null, /an object or an array/],
      [8000, /an object or an array/],
      ['8000', /an object or an array/],
      [true, /an object or an array/],
      [new Map([['port', 8000]]), /an object or an array/],
      [[8000], /an object or an array/],
      [[[{ port: 0 }]], /an object or an array/],
      // eslint-disable-next-line no-sparse-arrays
      [[, { port: 0 }], /an object or an array/],
      [{ port: '8000' }, /port/],
    ]) {
      assert.throws(() => other.setupPrimary({ forward }), {
        code: 'ERR_INVALID_ARG_VALUE',
        message: pattern,
      });
    }
    const { port, host } = /** @type {{ port: number, host: string }} */ (app.target);
    for (const setUp of [
      () => other.setupPrimary({ execPath: 'python3' }),
      () => Object.assign(other, { settings: { execPath: 'python3' } }).fork(),
    ]) {
      assert.throws(setUp, { code: 'ERR_INVALID_ARG_VALUE', message: /"execPath" needs "forward"/ });
    }
    other.settings = {};
    assert.throws(() => other.setupPrimary({ forward: { port, host } }), {
      code: 'EADDRINUSE',
      syscall: 'listen',
      address: host,
      port,
      message: `listen EADDRINUSE: address already in use ${host}:${port}`,
    });
  }));
