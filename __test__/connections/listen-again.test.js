'use strict';

// An address is free as soon as the only server that listens on it is closed.

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { withDirectory } = require('../../testing/directories.js');
const { freePorts } = require('../../testing/ports.js');
const { runProgram } = require('../../testing/run-program.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const TIMES = 100;

/**
 * @param {object} address the options of listen()
 * @param {string} again how the server is closed and opened again
 */
async function listensAgain(address, again) {
  const program = `
    const cluster = require(${JSON.stringify(isBuiltin ? 'node:cluster' : OURS)});
    if (cluster.isPrimary) {
      cluster.fork();
      return;
    }
    let times = 0;
    const server = require('node:net').createServer();
    const listen = () => server.listen(${JSON.stringify(address)});
    server.on('listening', () => {
      if (++times === ${TIMES}) {
        console.log('listened', times);
        process.exit();
      }
      ${again};
    });
    listen();`;
  const { stdout, stderr, status } = await runProgram(program);
  assert.deepStrictEqual([stdout, stderr, status], [`listened ${TIMES}\n`, '', 0]);
}

const WAYS = {
  'once it is closed': 'server.close(listen)',
  'at once': 'server.close(); listen()',
};

for (const [way, again] of Object.entries(WAYS)) {
  test(`a server listens again on its port ${way}`, async () => {
    const [port] = await freePorts(1);
    await listensAgain({ port, host: '127.0.0.1' }, again);
  });

  test(`a server listens again at its path ${way}`, () =>
    withDirectory((directory) => listensAgain({ path: path.join(directory, 'a.sock') }, again)));
}
