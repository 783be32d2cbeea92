'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const path = require('node:path');
const { test } = require('node:test');
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
    const counts = pids.map((pid) => clients.filter((client) => client.pid === pid).length);
    assert.strictEqual(counts[0] + counts[1], CLIENTS);
    assert.ok(Math.min(...counts) > 0, `the workers have ${counts} clients`);

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
