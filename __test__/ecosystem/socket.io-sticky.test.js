'use strict';

// Socket.IO by long-polling over four workers, each request on a connection of its own, without a sticky package. Bodies
// of a megabyte arrive whole.

const assert = require('node:assert');
const http = require('node:http');
const path = require('node:path');
const { once } = require('node:events');
const { test } = require('node:test');
const { ECOSYSTEM } = require('../helpers/ecosystem.js');
const { withFixture } = require('../helpers/run-fixture.js');

const MEGABYTE = 1 << 20;

/**
 * @param {Record<string, string>} env
 * @param {(n: number) => string} addressOf the address of the n-th client
 */
function chat(env, addressOf) {
  const { io } = require('socket.io-client');
  return withFixture(path.join(ECOSYSTEM, 'apps', 'socket.io-sticky.js'), { env }, async (fixture) => {
    const { port, host } = await fixture.marker('listening');
    const workers = new Set();
    for (let n = 0; n < 12; n++) {
      // No keep-alive: every poll and every post could go anywhere.
      const agent = new http.Agent({ keepAlive: false });
      const { createConnection } = /** @type {any} */ (agent);
      /** @type {any} */ (agent).createConnection = (options, callback) =>
        Reflect.apply(createConnection, agent, [{ ...options, localAddress: addressOf(n) }, callback]);
      const socket = io(`http://${host}:${port}`, {
        transports: ['polling'],
        reconnection: false,
        forceNew: true,
        agent: /** @type {any} */ (agent),
      });
      await Promise.race([
        once(socket, 'connect'),
        once(socket, 'connect_error').then(([error]) => Promise.reject(error)),
      ]);
      let home;
      const measure = async (length) => {
        const data = Buffer.alloc(length, n + 1);
        const answer = await socket.timeout(20_000).emitWithAck('measure', data);
        home ??= answer.worker;
        assert.deepStrictEqual(answer, { worker: home, length, sum: length * (n + 1) });
      };
      for (let count = 0; count < 3; count++) await measure(10);
      if (n < 4) await measure(MEGABYTE);
      workers.add(home);
      socket.disconnect();
    }
    assert.ok(workers.size > 1, 'they are not all with one worker');
  });
}

/** A busy machine may keep a worker or a client from its CPU for longer than the default time limits. */
const UNHURRIED = { patience: 60_000, timeout: 60_000 };

test('by address', () => {
  const { patience } = UNHURRIED;
  const scheduling = { policy: 'sticky', sticky: { patience } };
  return chat({ SCHEDULING: JSON.stringify(scheduling) }, (n) => `127.0.5.${n + 1}`);
});

test('by the id of the session', () => {
  const scheduling = { policy: 'sticky', sticky: { by: 'query', name: 'sid', ...UNHURRIED } };
  // Each request comes from another address.
  let count = 0;
  return chat({ SCHEDULING: JSON.stringify(scheduling), IDS: '1' }, () => `127.0.4.${(count++ % 250) + 1}`);
});
