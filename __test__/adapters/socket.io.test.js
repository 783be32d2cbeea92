'use strict';

// rcluster/socket.io: rooms that span all workers, with the real socket.io, even if workers are blocked or
// dead.

const assert = require('node:assert');
const { once } = require('node:events');
const { describe, test } = require('node:test');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withFixture } = require('../helpers/run-fixture.js');

const skip = isBuiltin && 'the built-in has no messages between workers';
const WORKERS = 3;
/** Longer than any test: no test relies on it. */
const LONG = 600_000;

/** A client, and what it has received. */
async function connect(port, name) {
  const { io } = require('socket.io-client');
  const socket = io(`http://127.0.0.1:${port}`, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    query: { name },
  });
  const got = [];
  socket.on('message', (...values) => got.push(values));
  await once(socket, 'connect');
  const ask = (action, value) => new Promise((resolve) => socket.emit('do', action, value, resolve));
  return { socket, got, ask, id: socket.id, worker: await ask('worker') };
}

/** One client for each worker. */
function withClients(body) {
  return withFixture('adapters/socket.io.js', {}, async (fixture) => {
    const open = [];
    const connectOne = async (port) => {
      const client = await connect(port, `client ${open.length}`);
      open.push(client);
      return client;
    };
    /** A client of a worker that is not among these. */
    const connectOther = async (port, workers) => {
      for (;;) {
        const client = await connectOne(port);
        if (!workers.includes(client.worker)) return client;
        client.socket.close();
      }
    };
    let port;
    for (let count = 0; count < WORKERS; count++) ({ port } = await fixture.marker('listening'));
    try {
      const clients = [];
      while (clients.length < WORKERS) {
        clients.push(
          await connectOther(
            port,
            clients.map(({ worker }) => worker),
          ),
        );
      }
      await until('those that were closed are gone', async () => {
        return (await clients[0].ask('fetchWithin', LONG)).length === WORKERS;
      });
      await body({ fixture, clients, connectOther, port });
    } finally {
      for (const { socket } of open) socket.close();
      if (fixture.exit === null) fixture.tell('stop');
    }
    await fixture.exited;
  });
}

const answerWith = (client, value) =>
  client.socket.on('question', (question, callback) => callback(value ?? question));

const all = (clients) => clients.map(({ id }) => id).toSorted();

describe('Socket.IO in all workers', { skip }, () => {
  test('sends to rooms, and changes them', () =>
    withClients(async ({ clients: [a, b, c] }) => {
      await a.ask('join', 'room');
      await b.ask('join', 'room');
      await c.ask('emit', ['room', 'nobody', 'text', { list: [1] }, Buffer.from('bytes')]);
      for (const { got } of [a, b]) {
        await until('it has come', () => got.length === 1);
        assert.deepStrictEqual(got, [['text', { list: [1] }, Buffer.from('bytes')]]);
      }
      assert.deepStrictEqual(c.got, []);
      await c.ask('emit', ['room', a.id, 'except']);
      await until('it has come', () => b.got.length === 2);
      // Operations of one worker are carried out in the same order in others.
      for (let round = 0; round < 50; round++) {
        await a.ask('socketsJoin', [c.id, `round ${round}`]);
        assert.deepStrictEqual(await a.ask('fetch', `round ${round}`), [c.id]);
        await a.ask('socketsLeave', [c.id, `round ${round}`]);
        assert.deepStrictEqual(await a.ask('fetch', `round ${round}`), []);
      }
      assert.deepStrictEqual(a.got.length, 1);
      const closed = once(b.socket, 'disconnect');
      await c.ask('disconnect', b.id);
      assert.deepStrictEqual(await closed, ['io server disconnect', undefined]);
      assert.deepStrictEqual(await a.ask('fetchWithin', LONG), all([a, c]));
    }));

  test('lists all sockets with their data', () =>
    withClients(async ({ clients: [a, b] }) => {
      await b.ask('join', 'room');
      await b.ask('data', { user: 'b', when: 1 });
      const [{ query, ...found }] = await a.ask('fetchAll', 'room');
      assert.deepStrictEqual(found, {
        id: b.id,
        data: { user: 'b', when: 1 },
        rooms: [b.id, 'room'].toSorted(),
      });
      assert.match(query, /^client \d+$/);
    }));

  test('collects the acknowledgements of all clients, and says which are missing', () =>
    withClients(async ({ clients, connectOther, port }) => {
      const [a, b, c] = clients;
      const d = await connectOther(port, [a.worker, c.worker]);
      assert.strictEqual(d.worker, b.worker);
      for (const client of [...clients, d]) {
        await client.ask('join', 'room');
        answerWith(client, client.id);
      }
      for (const { ask } of clients) {
        const expected = { error: null, responses: all([...clients, d]) };
        assert.deepStrictEqual(await ask('ask', ['room', LONG, 'who']), expected);
      }
      assert.deepStrictEqual(await a.ask('ask', ['nobody', LONG, 'who']), { error: null, responses: [] });
      assert.deepStrictEqual(await a.ask('askLocally', 'who'), [a.id]);
      // Of two clients of one worker one does not answer.
      d.socket.off('question');
      assert.deepStrictEqual(await a.ask('ask', ['room', 3000, 'who']), {
        error: 'operation has timed out',
        responses: all(clients),
      });
    }));

  test('sends clients of other workers what it sends its own', () =>
    withClients(async ({ clients }) => {
      const [a] = clients;
      for (const client of clients) answerWith(client);
      await a.ask('emitUser', 'message');
      for (const { got } of clients) {
        await until('it has come', () => got.length === 1);
        assert.deepStrictEqual(got, [[{ user: { name: 'bob' }, bytes: Buffer.from('a') }]]);
      }
      assert.deepStrictEqual(
        await a.ask('askUser'),
        clients.map(() => ({ name: 'bob' })),
      );
    }));

  test('what cannot be sent fails in the worker that sends it, and in no other', () =>
    withClients(async ({ fixture, clients: [a, b, c] }) => {
      for (const kind of ['bigint', 'circle']) {
        await a.ask('emitBad', kind);
        assert.match(await a.ask('askBad', kind), /TypeError|RangeError/);
      }
      await until('it is warned of', () => fixture.stderr.includes('RCLUSTER_SOCKET_IO'));
      for (const { ask, worker, got } of [a, b, c]) {
        assert.strictEqual(await ask('worker'), worker);
        assert.deepStrictEqual(got, []);
      }
      assert.strictEqual(await a.ask('count'), WORKERS);
    }));

  test('a message that cannot be handled does not end the workers, and is warned of once', () =>
    withClients(async ({ fixture, clients }) => {
      const [a, ...others] = clients;
      await a.ask('post');
      await a.ask('emit', [others.map(({ id }) => id), 'nobody', 'after']);
      for (const { got } of others) await until('it has come', () => got.length === 1);
      for (const { ask, worker } of clients) assert.strictEqual(await ask('worker'), worker);
      const warnings = () => fixture.stderr.split('could not be handled').length - 1;
      await until('each worker has warned', () => warnings() === WORKERS);
    }));

  test('warns of an acknowledgement that is too large, and passes on the others', () =>
    withClients(async ({ fixture, clients: [a, b, c] }) => {
      for (const client of [b, c]) await client.ask('join', 'room');
      answerWith(b, 'x'.repeat(5 * 1024 * 1024));
      answerWith(c, 'c');
      assert.deepStrictEqual(await a.ask('ask', ['room', 3000, 'who']), {
        error: 'operation has timed out',
        responses: ['c'],
      });
      await until('it is warned of', () => fixture.stderr.includes('RCLUSTER_SOCKET_IO'));
      assert.strictEqual(await b.ask('worker'), b.worker);
    }));

  test('emits to servers, with and without answers', () =>
    withClients(async ({ clients: [a, b, c] }) => {
      assert.deepStrictEqual(await a.ask('askServers', 'who'), [b.worker, c.worker].toSorted());
      await a.ask('emitToServers', 'told');
      for (const { ask } of [b, c]) await until('it is told', async () => (await ask('heard')).length === 1);
      assert.deepStrictEqual(await a.ask('heard'), []);
      assert.strictEqual(await a.ask('count'), WORKERS);
    }));

  test('does not wait for a worker that dies, in the middle of a broadcast', () =>
    withClients(async ({ fixture, clients, connectOther, port }) => {
      const [a, b, c] = clients;
      const d = await connectOther(port, [a.worker, c.worker]);
      for (const client of [...clients, d]) await client.ask('join', 'room');
      answerWith(a, 'a');
      answerWith(d, 'd');
      answerWith(c, 'c');
      const asked = [b, d].map((client) => once(client.socket, 'question'));
      const answer = a.ask('ask', ['room', LONG, 'who']);
      await Promise.all(asked);
      // An acknowledgement of its client counts once it has been forwarded: messages of one socket are in
      // order.
      await d.ask('fetchWithin', LONG);
      fixture.tell('kill', b.worker);
      assert.deepStrictEqual(await answer, { error: null, responses: ['a', 'c', 'd'] });
      assert.deepStrictEqual(await a.ask('ask', ['room', LONG, 'who']), {
        error: null,
        responses: ['a', 'c'],
      });
    }));

  test('does not wait for a worker that dies, in the middle of fetchSockets() and serverSideEmit()', () =>
    withClients(async ({ fixture, clients: [a, b, c] }) => {
      await b.ask('block', 'never');
      const found = a.ask('fetchWithin', LONG);
      // A blocked worker is waited for, unlike a dead one.
      assert.strictEqual(await c.ask('fetchWithin', 200), 'ERR_RCLUSTER_TIMEOUT');
      const counted = a.ask('count');
      const acknowledged = a.ask('ask', [b.id, LONG, 'who']);
      fixture.tell('kill', b.worker);
      assert.deepStrictEqual(await found, all([a, c]));
      assert.deepStrictEqual(await acknowledged, { error: null, responses: [] });
      assert((await counted) >= 2);
      assert.deepStrictEqual(await a.ask('askServers', `die ${c.worker}`), []);
      assert.strictEqual(await a.ask('count'), 1);
    }));

  test('works while the primary is blocked, and with a worker that joins later', () =>
    withClients(async ({ fixture, clients, connectOther, port }) => {
      const [a, b, c] = clients;
      fixture.tell('fork');
      await fixture.marker('listening');
      const d = await connectOther(
        port,
        clients.map(({ worker }) => worker),
      );
      const everybody = [a, b, c, d];
      await until('those that were closed are gone', async () => {
        return (await a.ask('fetchWithin', LONG)).length === everybody.length;
      });
      fixture.tell('block', 'unblock');
      await fixture.marker('blocking');
      for (const client of everybody) answerWith(client, client.id);
      for (const { ask } of everybody) {
        assert.strictEqual(await ask('count'), everybody.length);
        assert.deepStrictEqual(await ask('fetchWithin', LONG), all(everybody));
      }
      for (const client of everybody) await client.ask('join', 'room');
      assert.deepStrictEqual(await d.ask('ask', ['room', LONG, 'who']), {
        error: null,
        responses: all(everybody),
      });
      await a.ask('set', 'unblock');
      await fixture.marker('unblocked');
    }));
});

test('an unknown option is refused', { skip }, () => {
  const { createAdapter } = require('rcluster/socket.io');
  assert.throws(() => createAdapter({ heartbeatInterval: 1 }), { code: 'ERR_INVALID_ARG_VALUE' });
  assert.throws(() => createAdapter({ prefix: 1 }), { code: 'ERR_INVALID_ARG_TYPE' });
});
