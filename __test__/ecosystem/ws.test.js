'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const path = require('node:path');
const { test } = require('node:test');
const { until } = require('../../testing/processes.js');
const { withProgram } = require('../helpers/programs.js');

const CLIENTS = 20;

test('a program with ws', () =>
  withProgram(path.join(__dirname, 'apps', 'ws'), async ({ port, host }, pids) => {
    // The packages are installed by the time a test runs, not when its file is checked.
    const { WebSocket } = require('ws');
    const connect = async () => {
      const client = new WebSocket(`ws://${host}:${port}`);
      const [greeting] = await once(client, 'message');
      return { client, pid: JSON.parse(String(greeting)).pid };
    };
    const clients = await Promise.all(Array.from({ length: CLIENTS }, connect));
    assert.ok(clients.every(({ pid }) => pids.includes(pid)));
    // On a loaded machine a worker may get no CPU time for a while, and then it gets no clients either.
    const hasClients = (/** @type {number} */ worker) => clients.some(({ pid }) => pid === worker);
    await until(
      'each worker has clients',
      async () => pids.every(hasClients) || !clients.push(await connect()),
    );

    const binary = Buffer.alloc(1024 * 1024, 'rcluster');
    await Promise.all(
      clients.map(async ({ client }, index) => {
        for (const message of [`client ${index}`, binary]) {
          client.send(message);
          const [echo, isBinary] = await once(client, 'message');
          assert.deepStrictEqual(
            [isBinary, Buffer.compare(echo, Buffer.from(message))],
            [message === binary, 0],
          );
        }
        client.send('end');
        const [code, reason] = await once(client, 'close');
        assert.deepStrictEqual([code, String(reason)], [4000, 'as asked']);
      }),
    );
  }));
