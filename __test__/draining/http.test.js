'use strict';

// A retiring worker finishes its requests, and no request of its clients fails.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { certificate } = require('../helpers/programs.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withLifecycle, clientOf, SteadyLoad } = require('../helpers/lifecycle.js');
const { isAlive, until } = require('../../testing/processes.js');

const skip = isBuiltin && 'the built-in does not drain';

test('an idle connection is handed over to another worker, and its client does not notice', { skip }, () =>
  withLifecycle({}, async (app) => {
    const [leaving, staying] = app.workers;
    const client = await clientOf(app, leaving.id);
    const { port } = await client.get();
    app.tell('retire', { id: leaving.id, reason: 'test' });
    assert.strictEqual((await app.marker('retiring')).reason, 'test');
    assert.deepStrictEqual(await app.marker('exit'), { id: leaving.id, code: 0, signal: null, agreed: true });
    // The same connection, another worker.
    const answer = await client.get();
    assert.deepStrictEqual(answer, { status: 200, connection: 'keep-alive', text: `${staying.id}`, port });
    client.close();
  }),
);

test('a connection on which nothing was ever sent is handed over as well', { skip }, () =>
  withLifecycle({}, async (app) => {
    const [leaving, staying] = app.workers;
    const sockets = Array.from({ length: 8 }, () => require('node:net').connect(app.target));
    await Promise.all(sockets.map((socket) => require('node:events').once(socket, 'connect')));
    // By then, earlier connections have been received.
    (await clientOf(app, leaving.id)).close();
    app.tell('retire', { id: leaving.id });
    await app.marker('exit');
    for (const socket of sockets) {
      socket.end('GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n');
      let text = '';
      for await (const chunk of socket.setEncoding('utf8')) text += chunk;
      assert.match(text, new RegExp(`^HTTP/1.1 200 [^]*\\r\\n\\r\\n[^]*\\b${staying.id}\\b`));
    }
  }),
);

for (const [when, last] of [
  ['before', 'keep-alive'],
  ['after', 'keep-alive'],
  ['after', 'close'],
]) {
  const what = `pipelined requests that arrive ${when} the drain order are answered in order`;
  test(`${what}, the last with Connection: ${last}`, { skip }, () =>
    withLifecycle({ WORKERS: '1' }, async (app) => {
      const socket = require('node:net').connect(app.target);
      const request = (url, connection = 'keep-alive') =>
        socket.write(`GET ${url} HTTP/1.1\r\nHost: test\r\nConnection: ${connection}\r\n\r\n`);
      const retire = async () => {
        app.tell('retire', { id: 1 });
        await app.marker('retiring');
      };
      request('/hold');
      await app.marker('held');
      if (when === 'after') await retire();
      // The worker has begun to answer it.
      request('/begin', last);
      await app.marker('held');
      if (when === 'before') await retire();
      for (const url of ['/begin', '/hold']) app.tell('tell', { id: 1, command: 'release', url });
      let text = '';
      for await (const chunk of socket.setEncoding('utf8')) text += chunk;
      assert.strictEqual(text.split('HTTP/1.1 200 OK').length - 1, 2, text);
      assert.match(text, /begun /);
      assert.strictEqual((await app.marker('exit')).code, 0);
    }),
  );
}

for (const url of ['/hold', '/begin']) {
  test(`a pending answer is sent, and says that it is the last (${url})`, { skip }, () =>
    withLifecycle({}, async (app) => {
      const [leaving, staying] = app.workers;
      const client = await clientOf(app, leaving.id);
      const answer = client.get(url);
      await app.marker('held');
      app.tell('retire', { id: leaving.id });
      await app.marker('retiring');
      app.tell('tell', { id: leaving.id, command: 'release', url });
      const { status, connection, text, port } = await answer;
      assert.strictEqual(status, 200);
      assert.strictEqual(text.split(' ').at(-1), `${leaving.id}`);
      // Headers that were sent cannot be changed: then the connection is handed over after the answer.
      assert.strictEqual(connection, url === '/hold' ? 'close' : 'keep-alive');
      assert.strictEqual((await app.marker('exit')).code, 0);
      const next = await client.get();
      assert.strictEqual(next.text, `${staying.id}`);
      assert.strictEqual(next.port === port, url === '/begin');
      client.close();
    }),
  );
}

for (const [name, env] of Object.entries({
  'when all workers go': {},
  'with sockets that workers share': { NODE_CLUSTER_SCHED_POLICY: 'none' },
  'with https': { SERVER: 'https' },
})) {
  const secure = env.SERVER === 'https';
  const reason = name.includes('all') ? 'shutdown' : 'test';

  test(`an idle connection gets one more answer, ${name}`, { skip }, () =>
    withLifecycle(env, async (app) => {
      const [{ id }] = app.workers;
      const clients = [await clientOf(app, id, secure), await clientOf(app, id, secure)];
      app.tell('retire', { id, reason });
      await app.marker('retiring');
      const { connection, text } = await clients[0].get();
      assert.strictEqual(connection, 'close');
      assert.strictEqual(text, `${id}`);
      // The second client sends no request. Its connection is closed after the grace, and does not keep the
      // worker alive.
      assert.strictEqual((await app.marker('exit')).code, 0);
      await until('the client knows', () => Object.keys(clients[1].agent.freeSockets).length === 0);
      for (const client of clients) client.close();
    }),
  );
}

test('a TLS connection on which nothing was ever sent does not keep a worker alive', { skip }, () =>
  withLifecycle({ SERVER: 'https' }, async (app) => {
    const [{ id }] = app.workers;
    const sockets = Array.from({ length: 8 }, () =>
      require('node:tls').connect({ ...app.target, ca: certificate, servername: 'localhost' }),
    );
    await Promise.all(sockets.map((socket) => require('node:events').once(socket, 'secureConnect')));
    app.tell('retire', { id });
    assert.strictEqual((await app.marker('exit')).code, 0);
    for (const socket of sockets) socket.destroy();
  }),
);

test('a header of the application cannot keep the connection open', { skip }, () =>
  withLifecycle({}, async (app) => {
    const [{ id }] = app.workers;
    const client = await clientOf(app, id);
    assert.strictEqual((await client.get('/own')).connection, 'keep-alive');
    app.tell('retire', { id, reason: 'shutdown' });
    await app.marker('retiring');
    assert.strictEqual((await client.get('/own')).connection, 'close');
    assert.strictEqual((await app.marker('exit')).code, 0);
    client.close();
  }),
);

test('a worker can be drained while the JavaScript of its primary is blocked', { skip }, () =>
  withLifecycle({ ON_RETIRE: 'gone' }, async (app) => {
    const [leaving, staying] = app.workers;
    const client = await clientOf(app, leaving.id);
    const file = path.join(app.directory, 'unblock');
    app.tell('retireBlocked', { id: leaving.id, file });
    await until('the worker knows', () => fs.existsSync(path.join(app.directory, 'gone')));
    await until('it has ended', () => !isAlive(leaving.pid));
    assert.strictEqual((await client.get()).text, `${staying.id}`);
    fs.writeFileSync(file, '');
    assert.deepStrictEqual(await app.marker('exit'), { id: leaving.id, code: 0, signal: null, agreed: true });
    client.close();
  }),
);

for (const [name, env] of Object.entries({
  http: { WORKERS: '4' },
  'sockets that workers share': { WORKERS: '2', NODE_CLUSTER_SCHED_POLICY: 'none' },
  https: { WORKERS: '2', SERVER: 'https' },
})) {
  test(`all workers are replaced one by one under load: ${name}`, { skip }, () =>
    withLifecycle(env, async (app) => {
      const secure = env.SERVER === 'https';
      const loads = [
        new SteadyLoad(app.target, { clients: 40, interval: 100, secure }),
        new SteadyLoad(app.target, { clients: 4, interval: 20, secure, fresh: true }),
      ];
      app.tell('roll', { rounds: 1 });
      await app.marker('rolled');
      for (const load of loads) {
        const { sent, failures } = await load.stop();
        assert.deepStrictEqual(failures, []);
        assert.ok(sent > 4, `${sent} requests`);
      }
    }),
  );
}
