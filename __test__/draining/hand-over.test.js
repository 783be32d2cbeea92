'use strict';

// A connection that one worker hands over to another is not a new client; a connection that another worker
// could not continue is not handed over.

const assert = require('node:assert');
const { once } = require('node:events');
const net = require('node:net');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withLifecycle, clientOf, Client } = require('../helpers/lifecycle.js');
const { withSupervised } = require('../../testing/supervised.js');
const { until } = require('../../testing/processes.js');

const skip = isBuiltin && 'the built-in does not drain';

/** One connection of HTTP/1, on which requests are sent one by one. */
class Connection {
  /**
   * @param {net.NetConnectOpts} target
   * @param {string} [before] what is sent before the first request
   */
  constructor(target, before = '') {
    this.socket = net.connect(target);
    this.text = '';
    this.before = before;
    this.closed = new Promise((resolve) => {
      this.socket.once('close', resolve);
    });
    this.socket.on('error', (error) => (this.text += error.code));
    this.socket.setEncoding('latin1').on('data', (chunk) => {
      this.text += chunk;
    });
  }

  /**
   * @param {string} [path]
   * @param {string[]} headers
   * @returns {Promise<{ status: string, connection: string, text: string }>} whose text is empty if there is no answer
   */
  async get(path = '/', headers = []) {
    this.socket.write(
      `${this.before}GET ${path} HTTP/1.1\r\n${['Host: test', ...headers].join('\r\n')}\r\n\r\n`,
    );
    this.before = '';
    const answer =
      /^HTTP\/1.1 (?<status>\d+) (?<head>[^]*?)\r\n\r\n(?:(?<size>[\da-f]+)\r\n)?(?<text>[^\r]*)(?:\r\n0\r\n\r\n)?$/;
    let match;
    while (!(match = answer.exec(this.text))?.groups?.text && !this.socket.destroyed) {
      await new Promise((resolve) => {
        this.socket.once('data', resolve);
        this.socket.once('close', resolve);
      });
    }
    this.text = '';
    const { status = '', head = '', text = '' } = match?.groups ?? {};
    return { status, connection: /^Connection: (.*)$/im.exec(head)?.[1].trim() ?? '', text };
  }

  close() {
    this.socket.destroy();
  }
}

/**
 * A connection on which a certain worker has answered.
 * @param {import('../helpers/lifecycle.js').Lifecycle} app
 * @param {number} id
 * @param {{ before?: string, path?: string, headers?: string[] }} [options]
 */
async function connectionOf(app, id, { before, path, headers } = {}) {
  for (;;) {
    const connection = new Connection(app.target, before);
    if ((await connection.get(path, headers)).text === String(id)) return connection;
    connection.close();
  }
}

for (const SERVER of ['http', 'counting', 'subclass', 'curious']) {
  test(`an idle connection is handed over: ${SERVER}`, { skip }, () =>
    withLifecycle({ SERVER }, async (app) => {
      const [leaving, staying] = app.workers;
      const connection = await connectionOf(app, leaving.id);
      app.tell('retire', { id: leaving.id });
      await app.marker('exit');
      assert.strictEqual((await connection.get()).text, `${staying.id}`);
      connection.close();
    }),
  );
}

test('an idle connection of a supervised worker that calls disconnect() is handed over', { skip }, () =>
  withSupervised({ workers: 2 }, async (app) => {
    const [leaving] = app.workers;
    const client = new Client(app.target);
    const who = async () => {
      const { text, port } = await client.get('/who');
      return { port, id: JSON.parse(text).id };
    };
    let first = await who();
    while (first.id !== leaving.id) {
      client.close();
      first = await who();
    }
    app.tell('say disconnect', leaving.id);
    const { id, code, exitedAfterDisconnect } = await app.marker('exit');
    assert.deepStrictEqual([id, code, exitedAfterDisconnect], [leaving.id, 0, true]);
    const second = await who();
    assert.strictEqual(second.port, first.port);
    assert.notStrictEqual(second.id, leaving.id);
    client.close();
  }),
);

for (const [SERVER, before] of Object.entries({
  wrapped: 'PROXY TCP4 10.0.0.1 10.0.0.2 1111 80\r\n',
  emitted: '',
  property: '',
  symbol: '',
  listener: '',
  reader: '',
})) {
  test(
    `a connection with state outside of http is not handed over, but answered once more: ${SERVER}`,
    { skip },
    () =>
      withLifecycle({ SERVER }, async (app) => {
        const [{ id }] = app.workers;
        const connection = await connectionOf(app, id, { before });
        app.tell('retire', { id });
        await app.marker('retiring');
        const { status, connection: says, text } = await connection.get();
        assert.deepStrictEqual({ status, says, text }, { status: '200', says: 'close', text: `${id}` });
        await connection.closed;
        assert.strictEqual((await app.marker('exit')).code, 0);
      }),
  );
}

test('a connection that no other worker has room for is not handed over', { skip }, () =>
  withLifecycle({ SERVER: 'limited' }, async (app) => {
    const connections = [new Connection(app.target), new Connection(app.target)];
    // One in each worker, which is full with it.
    const answers = [];
    for (const connection of connections) answers.push((await connection.get()).text);
    const [{ id }] = app.workers;
    const connection = connections[answers.indexOf(`${id}`)];
    app.tell('retire', { id });
    await app.marker('retiring');
    const { connection: says, text } = await connection.get();
    assert.deepStrictEqual([says, text], ['close', `${id}`]);
    await app.marker('exit');
    for (const it of connections) it.close();
  }),
);

test('behind a proxy that sends client addresses, no connection is handed over', { skip }, () => {
  const sticky = { by: 'address', proxyProtocol: true, ...UNHURRIED };
  const SETTINGS = JSON.stringify({ scheduling: { policy: 'sticky', sticky } });
  return withLifecycle({ SERVER: 'wrapped', SETTINGS }, async (app) => {
    const before = 'PROXY TCP4 10.0.0.1 10.0.0.2 1111 80\r\n';
    const connection = new Connection(app.target, before);
    const id = Number((await connection.get()).text);
    app.tell('retire', { id });
    await app.marker('retiring');
    assert.strictEqual((await connection.get()).connection, 'close');
    assert.strictEqual((await app.marker('exit')).code, 0);
  });
});

test('without another worker on the listener, no connection is handed over', { skip }, () =>
  withLifecycle({ WORKERS: '1' }, async (app) => {
    const [{ id }] = app.workers;
    const connection = await connectionOf(app, id);
    app.tell('retire', { id });
    await app.marker('retiring');
    const { connection: says, text } = await connection.get();
    assert.deepStrictEqual({ says, text }, { says: 'close', text: `${id}` });
    assert.strictEqual((await app.marker('exit')).code, 0);
  }),
);

test('many idle connections are handed over, and none is closed', { skip }, () =>
  withLifecycle({}, async (app) => {
    const [leaving, staying] = app.workers;
    const all = [];
    let moving = [];
    // On a busy machine, one of the two may get more of them.
    while (all.length < 2000 || moving.length < 600) {
      const some = Array.from({ length: 100 }, () => new Connection(app.target));
      const texts = await Promise.all(some.map((connection) => connection.get()));
      all.push(...some.map((connection, index) => ({ connection, first: texts[index].text })));
      moving = all.filter(({ first }) => first === `${leaving.id}`);
    }
    app.tell('retire', { id: leaving.id });
    assert.strictEqual((await app.marker('exit')).code, 0);
    assert.strictEqual(
      all.filter(({ connection }) => connection.socket.destroyed).length,
      0,
      'none is closed',
    );
    const answers = await Promise.all(moving.map(({ connection }) => connection.get()));
    assert.deepStrictEqual(new Set(answers.map(({ text }) => text)), new Set([`${staying.id}`]));
    app.tell('stats');
    const { listeners } = await app.marker('stats');
    assert.strictEqual(listeners[0].accepted, all.length, 'each is one client');
    assert.strictEqual(listeners[0].handedOver, moving.length);
    for (const { connection } of all) connection.close();
  }),
);

test('a handed-over connection does not count for recycling', { skip }, () =>
  withSupervised({ workers: 1, recycle: { connections: 10, jitter: 0 } }, async (app) => {
    const clients = async (/** @type {number} */ count) => {
      const all = Array.from({ length: count }, () => new Connection(app.target));
      for (const client of all) await client.get('/who');
      return all;
    };
    await app.marker('ready');
    const first = await clients(10);
    assert.strictEqual((await app.marker('recycle')).value, 10);
    await app.marker('exit');
    // The successor has ten connections, and has accepted no new client. If the connections counted, it would
    // have been replaced by now, or would be at the first of the following.
    const more = await clients(9);
    assert.strictEqual(app.marks.filter(({ mark }) => mark === 'recycle').length, 0);
    more.push(...(await clients(1)));
    assert.strictEqual((await app.marker('recycle')).value, 10);
    for (const client of [...first, ...more]) client.close();
  }),
);

test(
  'a handed-over connection is idle in its new worker, and not overdue with its first request',
  { skip },
  () =>
    withLifecycle({ SERVER: 'impatient' }, async (app) => {
      const [leaving, staying] = app.workers;
      const connection = await connectionOf(app, leaving.id);
      app.tell('retire', { id: leaving.id });
      await app.marker('exit');
      // Silent clients come after it, and reach the worker's time limit.
      for (let round = 0; round < 2; round++) {
        const silent = new Connection(app.target);
        await silent.closed;
        assert.match(silent.text, /^HTTP\/1.1 408 /);
      }
      assert.strictEqual((await connection.get()).text, `${staying.id}`);
      connection.close();
    }),
);

test('a handed-over connection has the timeout of any idle connection', { skip }, () =>
  // Both connections are handed over within this time, and the second one is used again.
  withLifecycle({ SERVER: 'brief', KEEP_ALIVE: '4000' }, async (app) => {
    const [leaving] = app.workers;
    const connection = await connectionOf(app, leaving.id);
    const asking = await connectionOf(app, leaving.id);
    app.tell('retire', { id: leaving.id });
    await app.marker('exit');
    // A request ends the timeout: an answer may take longer.
    const answer = asking.get('/hold');
    const { id } = await app.marker('held');
    await connection.closed;
    assert.strictEqual(connection.text, '', 'it is closed without a word');
    app.tell('tell', { id, command: 'release', url: '/hold' });
    assert.strictEqual((await answer).text, `${id}`);
    asking.close();
  }),
);

test("on a sticky listener the client's last request decides", { skip }, () => {
  const SETTINGS = JSON.stringify({
    scheduling: { policy: 'sticky', sticky: { by: 'cookie', name: 'session', ...UNHURRIED } },
  });
  return withSupervised(
    { workers: 3 },
    async (app) => {
      const slotOf = (/** @type {{ text: string }} */ { text }) => Number(JSON.parse(text).slot);
      const clients = Array.from({ length: 12 }, (_, index) => ({
        slot: index % 3,
        client: new KeepAlive(app.target, `session=s${index % 3}~abcdefghijklmnopqrst${index}`),
      }));
      for (const { slot, client } of clients) assert.strictEqual(slotOf(await client.get()), slot);
      app.tell('reload', {});
      await app.marker('done');
      for (let count = 0; count < 3; count++) await app.marker('exit');
      for (const { slot, client } of clients) {
        const before = client.port;
        assert.strictEqual(slotOf(await client.get()), slot);
        assert.strictEqual(client.port, before, 'it is the same connection');
        client.close();
      }
    },
    { env: { SETTINGS } },
  );
});

test('a client with a cookie of the slot stays with that slot', { skip }, () => {
  const SETTINGS = JSON.stringify({
    scheduling: { policy: 'sticky', sticky: { by: 'cookie', name: 'session', ...UNHURRIED } },
  });
  return withSupervised(
    { workers: 3 },
    async (app) => {
      const { client, slot } = await firstOf(app);
      app.tell('reload', {});
      await app.marker('done');
      for (let count = 0; count < 3; count++) await app.marker('exit');
      // The first request had no cookie, and this one has.
      client.cookie = `session=s${slot}~abcdefghijklmnopqrst`;
      const before = client.port;
      assert.strictEqual(JSON.parse((await client.get()).text).slot, slot);
      assert.strictEqual(client.port, before, 'it is the same connection');
      client.close();
    },
    { env: { SETTINGS } },
  );
});

/** @param {import('../../testing/supervised.js').Supervised} app */
async function firstOf(app) {
  const client = new KeepAlive(app.target, '');
  return { client, slot: JSON.parse((await client.get()).text).slot };
}

/** A busy machine may keep a worker or a client from its CPU for longer than the default time limits. */
const UNHURRIED = { patience: 60_000, timeout: 60_000 };

/** A client that keeps its connection, and identifies itself. */
class KeepAlive extends Client {
  /**
   * @param {{ port: number, host: string }} target
   * @param {string} cookie
   */
  constructor(target, cookie) {
    super(target);
    this.cookie = cookie;
    this.port = 0;
  }

  async get() {
    if (this.cookie) this.options.headers = { cookie: this.cookie };
    const answer = await super.get('/who');
    this.port = answer.port;
    return answer;
  }
}

test('the hook is called again for a handed-over connection', { skip }, () =>
  withLifecycle({ HOOK: 'tell', WORKERS: '3' }, async (app) => {
    const [leaving] = app.workers;
    const client = await clientOf(app, leaving.id);
    const asked = async () => {
      const { connection, workers } = await app.marker('asked');
      return { ...connection, ids: workers.map((/** @type {{ id: number }} */ { id }) => id).sort() };
    };
    const { port } = await client.get();
    let first;
    do first = await asked();
    while (first.remotePort !== port);
    assert.strictEqual(first.handedOver, undefined);
    app.tell('retire', { id: leaving.id });
    const again = await asked();
    assert.strictEqual(again.remotePort, port);
    assert.strictEqual(again.handedOver, true);
    assert.deepStrictEqual(again.ids, [2, 3]);
    await app.marker('exit');
    assert.strictEqual((await client.get()).port, port);
    client.close();
  }),
);

for (const SERVER of ['http', 'https', 'subclass']) {
  for (const whole of [false, true]) {
    const what = whole ? 'cluster.disconnect()' : 'disconnect()';
    test(`${what} answers clients whose request has not arrived yet: ${SERVER}`, { skip }, () =>
      withLifecycle({ SERVER }, async (app) => {
        const secure = SERVER === 'https';
        const [leaving] = app.workers;
        const connect = () =>
          secure
            ? require('node:tls').connect({ ...app.target, rejectUnauthorized: false })
            : net.connect(app.target);
        const sockets = Array.from({ length: 8 }, connect);
        await Promise.all(sockets.map((socket) => once(socket, secure ? 'secureConnect' : 'connect')));
        // By then, earlier connections have been received.
        for (const { id } of app.workers) (await clientOf(app, id, secure)).close();
        const idle = await clientOf(app, leaving.id, secure);
        app.tell('disconnect', whole ? {} : { id: leaving.id });
        // As with the built-in, a connection without a pending answer is closed.
        await until('the idle one is closed', () => Object.keys(idle.agent.freeSockets).length === 0);
        for (const socket of sockets) {
          let text = '';
          socket.setEncoding('latin1').on('data', (chunk) => (text += chunk));
          socket.on('error', ({ code }) => (text += code));
          const closed = once(socket, 'close');
          socket.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n');
          await until('it is answered', () => /\r\n\r\n/.test(text) || socket.destroyed);
          assert.match(text, /^HTTP\/1.1 200 /);
          socket.destroy();
          await closed;
        }
        const { code, agreed } = await app.marker('exit');
        assert.deepStrictEqual({ code, agreed }, { code: 0, agreed: true });
      }),
    );
  }
}
