'use strict';

// examples/cron.js does what its first lines say, in two clusters with one server.

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { freePorts } = require('../../testing/ports.js');
const { until, within } = require('../../testing/processes.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withCommand } = require('../helpers/programs.js');

const EXAMPLE = path.join(__dirname, '..', '..', 'examples', 'cron.js');

const skip = isBuiltin ? 'the example is one of this package' : withoutRedis;

test(
  'cron.js has one reporting process in two clusters, and another one when that is killed',
  { skip },
  async () => {
    const server = await startRedis();
    const ports = await freePorts(2);
    const [one, other] = ports.map((port) => ({
      command: [process.execPath, EXAMPLE],
      env: { ...process.env, REDIS: server.url, PORT: `${port}` },
      state: async () => {
        const { body } = await get({ host: '127.0.0.1', port, path: '/' });
        const [, count, pid, token] =
          /^(\d+) reports, the last by process (\d+) with token (\d+)/.exec(body) ?? [];
        return { count: Number(count), pid: Number(pid), token: Number(token) };
      },
    }));
    const both = () =>
      Promise.all([one, other].map(({ state }) => state().catch(() => ({ count: NaN, pid: NaN, token: 0 }))));
    try {
      await withCommand(one.command, { env: one.env }, (first) =>
        withCommand(other.command, { env: other.env }, async (second) => {
          let last = 0;
          for (let round = 0; round < 3; round++) {
            const { pid, token } = await until('both tell of a new leader', async () => {
              const [a, b] = await both();
              return a.token > last && a.token === b.token && a.pid === b.pid && a.count > round && a;
            });
            last = token;
            process.kill(pid, 'SIGKILL');
          }
          for (const { pid, exit } of [first, second]) {
            process.kill(pid, 'SIGTERM');
            assert.deepStrictEqual(await within('the example ends', exit), [0, null]);
          }
        }),
      );
    } finally {
      await server.close();
    }
  },
);
