'use strict';

const assert = require('node:assert');
const path = require('node:path');
const { get } = require('../../testing/clients.js');
const { freePorts } = require('../../testing/ports.js');
const { until } = require('../../testing/processes.js');

const SCRIPT = path.join(__dirname, '..', 'fixtures', 'supervision', 'ending-worker.js');

/**
 * Checks that a server which the cluster does not share makes its worker ready, and that a drain closes it and finishes its
 * request.
 * @param {typeof import('../../testing/supervised.js').withSupervised} run
 * @param {{ workers: number } & Record<string, unknown>} options of supervise(), for one worker
 * @param {string} server how it listens, see the fixture
 */
async function isClosedByDrain(run, options, server) {
  const [port] = await freePorts(1);
  await run(
    options,
    async (app) => {
      await app.marker('ready');
      app.target = { port, host: '127.0.0.1' };
      const request = get({ ...app.target, path: '/slow' });
      await app.marker('asked');
      const { pid } = await app.marker('spawn');
      process.kill(app.pid, 'SIGTERM');
      await app.marker('draining');
      await until('it listens no more', () =>
        get(app.target).then(
          () => false,
          ({ code }) => code === 'ECONNREFUSED',
        ),
      );
      process.kill(pid, 'SIGUSR2');
      assert.strictEqual((await request).body, 'slow');
      assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
    },
    { env: { SCRIPT, SERVER: server, PORT: `${port}` }, listen: false },
  );
}

module.exports = { isClosedByDrain };
