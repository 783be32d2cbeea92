'use strict';

// examples/machines.js does what its first lines say, in two clusters with one server.

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { freePorts } = require('../../testing/ports.js');
const { until, within } = require('../../testing/processes.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withCommand } = require('../helpers/programs.js');

const EXAMPLE = path.join(__dirname, '..', '..', 'examples', 'machines.js');

const skip = isBuiltin ? 'the example is one of this package' : withoutRedis;

test('machines.js sends requests to the workers of two clusters, and to the leader', { skip }, async () => {
  const server = await startRedis();
  const ports = await freePorts(2);
  const [one, other] = ports.map((port) => ({
    env: { ...process.env, REDIS: server.url, PORT: `${port}` },
    /** @param {string} path */
    read: async (path) => {
      const { body } = await get({ host: '127.0.0.1', port, path }).catch(() => ({ body: '' }));
      return body;
    },
  }));
  const command = [process.execPath, EXAMPLE];
  const counts = async () => {
    const body = await one.read('/');
    const found = [...body.matchAll(/:(\d+) has had (\d+) in process (\d+)$/gm)];
    return found.map(([, port, count]) => ({ port: Number(port), count: Number(count) }));
  };
  try {
    await withCommand(command, { env: one.env }, (first) =>
      withCommand(command, { env: other.env }, async (second) => {
        await until('all four workers answer', async () => {
          const all = await counts();
          return ports.every((port) => all.filter((it) => it.port === port).length === 2);
        });
        const resets = [];
        for (const { read } of [one, other]) {
          resets.push(
            await until('the leader answers', async () => {
              const [pid] = /(?<=^process )\d+(?= has reset all$)/m.exec(await read('/reset')) ?? [];
              return pid;
            }),
          );
        }
        assert.strictEqual(resets[0], resets[1], 'both ask the same one');
        await until('all have begun anew', async () => {
          const sum = (await counts()).reduce((total, it) => total + it.count, 0);
          if (sum > 2) await other.read('/reset');
          return sum <= 2;
        });
        for (const { pid, exit } of [first, second]) {
          process.kill(pid, 'SIGTERM');
          assert.deepStrictEqual(await within('the example ends', exit), [0, null]);
        }
      }),
    );
  } finally {
    await server.close();
  }
});
