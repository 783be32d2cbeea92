'use strict';

// The HTTP listener for probes, status and events: its answers, even while the primary's JavaScript is
// blocked, and its treatment of misbehaving clients.

const assert = require('node:assert');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { whileOneFloods } = require('../../testing/flood.js');
const { until } = require('../../testing/processes.js');
const { addressOf, ask, withProbes } = require('../../testing/probes.js');
const { withSupervised } = require('../../testing/supervised.js');

const skip = isBuiltin && 'the built-in does not supervise';

/**
 * Sends raw bytes, and collects the answer until the end.
 * @param {import('../../testing/probes.js').Address} address
 * @param {string} text
 */
async function say(address, text) {
  const socket = net.connect('socketPath' in address ? { path: address.socketPath } : address);
  // The server may close the connection before everything is written.
  socket.on('error', () => {});
  let received = '';
  socket.setEncoding('utf8').on('data', (piece) => (received += piece));
  socket.write(text);
  await once(socket, 'close');
  return received;
}

test('probes and the status answer, even while the JavaScript of the primary is blocked', { skip }, () =>
  withProbes({ workers: 2, minReady: 2 }, async (app, address) => {
    for (const blocked of [false, true]) {
      if (blocked) {
        app.tell('block', app.inDirectory('go on'));
        await app.marker('blocked');
      }
      for (const target of ['/livez', '/readyz', '/startupz']) {
        const { status, body, headers } = await ask(address, target);
        assert.deepStrictEqual([status, body], [200, 'ok\n'], `${target}, blocked: ${blocked}`);
        assert.strictEqual(headers['cache-control'], 'no-store');
        assert.ok(Math.abs(Date.parse(headers.date) - Date.now()) < 3_600_000, headers.date);
      }
      const { status, body, headers } = await ask(address, '/status');
      const document = JSON.parse(body);
      assert.deepStrictEqual([status, headers['content-type']], [200, 'application/json']);
      assert.deepStrictEqual([document.ready, document.primary.pid], [2, app.pid]);
      assert.strictEqual(document.metrics, `127.0.0.1:${address.port}`);
    }
    // It has been blocked for a while, and for longer at each check.
    assert.strictEqual((await ask(address, '/livez?primary=60m')).status, 200);
    const live = await until('it has been blocked for 100 ms', async () => {
      const live = await ask(address, '/livez?primary=100ms');
      return live.status === 503 && live;
    });
    assert.match(live.body, /^the primary's JavaScript has been blocked for \d+ ms\n$/);
    assert.strictEqual((await ask(address, '/livez')).status, 200);
    fs.writeFileSync(app.inDirectory('go on'), '');
    await app.marker('unblocked');
    await until('it turns', async () => (await ask(address, '/livez?primary=100ms')).status === 200);
  }),
);

test('a cluster is ready with enough workers, and has started once', { skip }, () =>
  withProbes({ workers: 2, minReady: 2, restart: 'never' }, async (app, address) => {
    assert.strictEqual((await ask(address, '/readyz')).status, 200);
    process.kill(app.workers[1].pid, 'SIGKILL');
    const ready = await until('it counts one worker less', async () => {
      const ready = await ask(address, '/readyz');
      return ready.status === 503 && ready;
    });
    assert.strictEqual(ready.body, '1 of 2 workers ready, 2 needed\n');
    assert.strictEqual((await ask(address, '/startupz')).status, 200);
    assert.strictEqual((await ask(address, '/livez')).status, 200);
  }),
);

test('a cluster of which no worker has been ready has not started', { skip }, () =>
  withProbes(
    { workers: 1, ready: 'explicit' },
    async (_app, address) => {
      for (const target of ['/readyz', '/startupz']) {
        const { status, body } = await ask(address, target);
        assert.deepStrictEqual([status, body], [503, '0 of 1 workers ready, 1 needed\n'], target);
      }
    },
    { listen: false },
  ),
);

test('from SIGTERM on a cluster is not ready, while it continues to accept', { skip }, () =>
  withProbes({ workers: 1, shutdownDelay: 3_600_000 }, async (app, address) => {
    process.kill(app.pid, 'SIGTERM');
    const ready = await until('it is not ready', async () => {
      const ready = await ask(address, '/readyz');
      return ready.status === 503 && ready;
    });
    assert.strictEqual(ready.body, 'the cluster is about to end\n');
    assert.strictEqual((await app.who()).pid, app.workers[0].pid, 'it serves');
    assert.strictEqual((await ask(address, '/livez')).status, 200);
    process.kill(app.pid, 'SIGINT');
    assert.strictEqual((await app.exited).code, 0);
  }),
);

test('only GET and HEAD of known paths are answered', { skip }, () =>
  withProbes({ workers: 1 }, async (_app, address) => {
    const head = await ask(address, '/status', { method: 'HEAD' });
    assert.deepStrictEqual([head.status, head.body], [200, '']);
    assert.ok(Number(head.headers['content-length']) > 100, 'that of GET');
    assert.strictEqual((await ask(address, '/events', { method: 'HEAD' })).status, 200);
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const { status, headers } = await ask(address, '/status', { method });
      assert.deepStrictEqual([status, headers.allow], [405, 'GET, HEAD'], method);
    }
    for (const target of ['/nothing', '/livez/', '//', '/status/../livez']) {
      assert.strictEqual((await ask(address, target)).status, 404, target);
    }
    assert.strictEqual((await ask(address, '/livez?primary=soon')).status, 400);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const first = await ask(address, '/livez', { agent });
    assert.strictEqual(first.headers.connection, undefined);
    await ask(address, '/readyz', { agent });
    agent.destroy();
  }),
);

test('a page of another site cannot read the listener through a browser on this machine', { skip }, () =>
  withProbes({ workers: 1 }, async (_app, address) => {
    for (const host of ['example.com', '127.0.0.1.example.com', 'localhost.example.com:80']) {
      assert.strictEqual((await ask(address, '/status', { headers: { host } })).status, 403, host);
    }
    for (const host of ['localhost', `localhost:${address.port}`, '127.0.0.1', '[::1]:80']) {
      const { status, headers } = await ask(address, '/status', { headers: { host } });
      assert.strictEqual(status, 200, host);
      assert.ok(!Object.keys(headers).some((name) => name.startsWith('access-control')));
    }
  }),
);

test('invalid requests are refused, and the connection ends', { skip }, () =>
  withProbes({ workers: 1 }, async (_app, address) => {
    for (const [text, status] of [
      ['\x16\x03\x01\x02\0\x01\0\r\n\r\n', 400],
      ['GET /livez HTTP/1.1\r\n\r\n', 400],
      ['GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd', 400],
      ['GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
      [`GET /livez HTTP/1.1\r\nHost: localhost\r\nA: ${'a'.repeat(100_000)}\r\n\r\n`, 431],
      [`GET /livez HTTP/1.1\r\nHost: localhost\r\n${'A: b\r\n'.repeat(200)}\r\n`, 431],
    ]) {
      const received = await say(address, text);
      assert.match(received, new RegExp(`^HTTP/1.1 ${status} `), text.slice(0, 80));
      assert.match(received, /\r\nConnection: close\r\n/);
    }
    const two =
      'GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    assert.deepStrictEqual((await say(address, two)).match(/HTTP\/1.1 \d+/g), [
      'HTTP/1.1 403',
      'HTTP/1.1 200',
    ]);
  }),
);

test('idle clients are replaced by one that sends a request', { skip }, () =>
  withProbes({ workers: 1 }, async (_app, address) => {
    const silent = Array.from({ length: 200 }, () => {
      // It may be reset, even before this process has noticed that it is connected.
      const socket = net.connect(address).on('error', () => {});
      const closed = new Promise((resolve) => socket.once('close', resolve));
      const connected = new Promise((resolve) => socket.once('connect', resolve));
      socket.write('GET /livez HTTP/1.1\r\nHost: ');
      return { socket, closed, tried: Promise.race([connected, closed]) };
    });
    await Promise.all(silent.map(({ tried }) => tried));
    assert.strictEqual((await ask(address, '/livez')).status, 200);
    await Promise.all(silent.slice(0, 100).map(({ closed }) => closed));
    for (const { socket } of silent) socket.destroy();
  }),
);

test('a client that does not read its answers delays no other', { skip }, () =>
  withProbes({ workers: 1 }, async (_app, address) => {
    const socket = net.connect(address).on('error', () => {});
    socket.pause();
    const request = 'GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n';
    // Until neither the system nor the listener accepts more.
    while (socket.write(request.repeat(1000)));
    await once(socket, 'connect');
    assert.strictEqual((await ask(address, '/livez')).status, 200);
    socket.destroy();
  }),
);

test('an event stream begins with the status, followed by the events', { skip }, () =>
  withProbes({ workers: 1 }, async (app, address) => {
    const [response] = await once(http.get({ ...address, path: '/events', agent: false }), 'response');
    assert.match(response.headers['content-type'], /^text\/event-stream/);
    const seen = [];
    let text = '';
    let told = false;
    for await (const piece of response.setEncoding('utf8')) {
      text += piece;
      const frames = text.split('\n\n');
      text = frames.pop();
      for (const frame of frames) {
        const [, kind, data] = /^event: (\w+)\ndata: (.*)$/.exec(frame);
        seen.push([kind, JSON.parse(data)]);
      }
      if (!told && seen.length > 0) {
        assert.deepStrictEqual([seen[0][0], seen[0][1].slots[0].pid], ['status', app.workers[0].pid]);
        process.kill(app.workers[0].pid, 'SIGKILL');
        told = true;
      }
      // That of the first one may come as well.
      const isReplaced = ([kind, { event, facts }]) =>
        kind === 'event' && event === 'ready' && facts.worker !== app.workers[0].id;
      if (seen.some(isReplaced)) break;
    }
    const events = seen.filter(([kind]) => kind === 'event').map(([, { event }]) => event);
    for (const event of ['exit', 'restart', 'spawn', 'ready']) assert.ok(events.includes(event), `${events}`);
    const { facts } = seen.find(([, data]) => data.event === 'exit')[1];
    assert.deepStrictEqual([facts.worker, facts.signal], [app.workers[0].id, 9]);
  }),
);

test('the number of event streams is limited, and each frees its place', { skip }, () =>
  withProbes({ workers: 1 }, async (_app, address) => {
    const following = [];
    for (let count = 0; count < 16; count++) {
      const request = http.get({ ...address, path: '/events', agent: false });
      const [response] = await once(request, 'response');
      assert.strictEqual(response.statusCode, 200);
      following.push(request);
    }
    assert.strictEqual((await ask(address, '/events')).status, 503);
    following[3].destroy();
    await until('there is a place', async () => {
      const request = http.get({ ...address, path: '/events', agent: false });
      const [{ statusCode }] = await once(request, 'response');
      request.destroy();
      return statusCode === 200;
    });
    for (const request of following) request.destroy();
  }),
);

test('a client that sends endlessly does not block the thread', { skip }, () =>
  withProbes({ workers: 1 }, async (app, address) => {
    const request = (/** @type {string} */ target) => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    const ways = [
      { first: request('/events'), text: 'what nobody reads' },
      { first: '', text: request('/nothing') },
      { first: '', text: request('/livez') },
    ];
    for (const { first, text } of ways) {
      await whileOneFloods(address, first, text, async () => {
        for (let count = 0; count < 20; count++) {
          assert.strictEqual((await ask(address, '/readyz')).status, 200);
        }
      });
    }
    process.kill(app.workers[0].pid, 'SIGKILL');
    await app.marker('restart');
  }),
);

test('a Unix socket is for its user only, and is removed with the primary', { skip }, () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-metrics-'));
  const socketPath = path.join(directory, 'metrics.sock');
  return withProbes({ workers: 1, metrics: `unix:${socketPath}` }, async (app, address) => {
    assert.deepStrictEqual(address, { socketPath });
    assert.strictEqual(fs.statSync(socketPath).mode & 0o777, 0o600);
    const headers = { host: 'whatever' };
    assert.strictEqual((await ask(address, '/livez', { headers })).status, 200, 'no browser gets here');
    process.kill(app.pid, 'SIGTERM');
    await app.exited;
    assert.ok(!fs.existsSync(socketPath));
  }).finally(() => fs.rmSync(directory, { recursive: true }));
});

const hasIpv6 = Object.values(os.networkInterfaces()).some((list) =>
  list.some(({ address }) => address === '::1'),
);

test('it listens at IPv6', { skip: skip || (!hasIpv6 && 'there is no IPv6') }, () =>
  withProbes({ workers: 1, metrics: '[::1]:0' }, async (_app, address) => {
    assert.strictEqual(address.host, '::1');
    assert.strictEqual((await ask(address, '/livez')).status, 200);
    assert.strictEqual((await ask(address, '/livez', { headers: { host: 'example.com' } })).status, 403);
  }),
);

test(
  'if the port is in use, the workers serve, a warning says so, and binding is retried',
  { skip },
  async () => {
    const taken = net.createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address();
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-taken-'));
    const control = path.join(directory, 'control.sock');
    await withSupervised({ workers: 1, metrics: port, control }, async (app) => {
      const { code, message } = await app.marker('warning');
      assert.strictEqual(code, 'RCLUSTER_METRICS_ADDRESS');
      assert.match(message, new RegExp(`address already in use.*127\\.0\\.0\\.1:${port}`, 'i'));
      assert.strictEqual((await app.who()).pid, app.workers[0].pid);
      const client = await connect({ control });
      assert.strictEqual((await client.status()).metrics, null);
      client.close();
      taken.close();
      assert.deepStrictEqual(await addressOf(control), { host: '127.0.0.1', port });
      assert.strictEqual((await ask({ host: '127.0.0.1', port }, '/livez')).status, 200);
    }).finally(() => fs.rmSync(directory, { recursive: true }));
  },
);
