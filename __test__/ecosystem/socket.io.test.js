'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const { test } = require('node:test');
const { withPreloaded } = require('../helpers/ecosystem.js');
const { DEADLINE, until } = require('../../testing/processes.js');

const CLIENTS = 9;

/** The transports of clients: one client in three stays with requests, which must all reach the same worker. */
const TRANSPORTS = [['polling'], ['websocket'], ['polling', 'websocket']];

test('socket.io with its sticky sessions and its cluster adapter', () =>
  withPreloaded('socket.io.js', async (fixture) => {
    const { io } = require('socket.io-client');
    const { port, pids } = await fixture.marker('listening');
    const clients = [];
    try {
      for (let number = 0; number < CLIENTS; number++) {
        const client = io(`http://127.0.0.1:${port}`, {
          transports: TRANSPORTS[number % TRANSPORTS.length],
          query: { room: number < 3 ? 'small' : 'large' },
          // The worker notifies the primary of a new session after it has notified the client, whose next
          // request may be faster; that request fails, also with the built-in, and the client reconnects.
          reconnectionDelay: 20,
          reconnectionDelayMax: 20,
          forceNew: true,
        });
        const told = [];
        client.on('told', (text) => told.push(text));
        clients.push({ client, told });
        await once(client, 'connect', { signal: AbortSignal.timeout(DEADLINE) });
      }
      // Each of them stays where it is, whatever its transport, and all workers have some.
      const homes = await Promise.all(clients.map(({ client }) => client.emitWithAck('who')));
      assert.deepStrictEqual(new Set(homes), new Set(pids));
      for (let round = 0; round < 5; round++) {
        const again = await Promise.all(clients.map(({ client }) => client.emitWithAck('who')));
        assert.deepStrictEqual(again, homes);
      }

      const ids = clients.map(({ client }) => client.id).sort();
      for (const { client } of clients.slice(0, 3)) {
        assert.deepStrictEqual((await client.emitWithAck('who is there')).sort(), ids);
      }
      const others = await clients[0].client.emitWithAck('ask the other workers');
      assert.deepStrictEqual(
        [...others, homes[0]].sort((a, b) => a - b),
        pids.sort((a, b) => a - b),
      );

      clients[0].client.emit('tell all', 'everybody');
      clients[1].client.emit('tell room', 'small', 'the few');
      const expected = (number) => (number < 3 ? ['everybody', 'the few'] : ['everybody']);
      await until('all have been told', () =>
        clients.every(({ told }, number) => told.length >= expected(number).length),
      );
      for (const [number, { told }] of clients.entries()) {
        assert.deepStrictEqual(told.sort(), expected(number));
      }
    } finally {
      for (const { client } of clients) client.close();
    }
    fixture.tell('disconnect');
    for (let count = 0; count < pids.length; count++) {
      assert.deepStrictEqual(await fixture.marker('exit'), { code: 0, signal: null });
    }
  }));
