'use strict';

// examples/redis.js does what its first line says: two clusters, one store on a server.

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { until, within } = require('../../testing/processes.js');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withCommand } = require('../helpers/programs.js');

const EXAMPLE = path.join(__dirname, '..', '..', 'examples', 'redis.js');

const skip = isBuiltin ? 'the example is one of this package' : withoutRedis;

test(
  'redis.js counts the workers of two clusters in one store, and notifies all of them of a flag',
  { skip },
  async () => {
    const server = await startRedis();
    try {
      // The second run finds the data of the first on the server, and continues from there.
      for (const numbers of [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
      ]) {
        const env = { ...process.env, REDIS: server.url };
        await withCommand([process.execPath, EXAMPLE], { env }, async ({ exit, output }) => {
          const told = await until('all have told of the flag', () => {
            const lines = [...output().matchAll(/^process (\d+) of (?:one|two): beta is true$/gm)];
            return lines.length >= 4 && lines;
          });
          assert.deepStrictEqual(await within('the example ends', exit), [0, null]);
          const workers = [...output().matchAll(/^process (\d+) of (one|two) is number (\d+)$/gm)];
          assert.deepStrictEqual(workers.map(([, , , number]) => Number(number)).sort(), numbers);
          const ofOne = workers.filter(([, , name]) => name === 'one');
          assert.strictEqual(ofOne.length, 2, 'two of each cluster');
          const pids = (/** @type {RegExpMatchArray[]} */ matches) => matches.map(([, pid]) => pid).sort();
          assert.deepStrictEqual(pids(told), pids(workers));
        });
      }
    } finally {
      await server.close();
    }
  },
);
