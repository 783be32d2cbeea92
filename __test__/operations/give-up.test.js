'use strict';

// A cluster whose program cannot start says why, in its log and to those who wait for it.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { COMMAND, withCommand } = require('../helpers/command-line.js');

const skip = isBuiltin && 'the built-in has no command';

/** @param {(port: string) => Promise<void>} body with a port on which this process listens */
async function withOccupied(body) {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    await body(`${/** @type {net.AddressInfo} */ (server.address()).port}`);
  } finally {
    server.close();
  }
}

const ERROR = 'it ended with exit code 1: Error: bind EADDRINUSE 127.0.0.1:';

for (const onGiveUp of ['degrade', 'exit']) {
  test(
    `the error of the workers is in the log and in the answer to those who wait (${onGiveUp})`,
    { skip },
    () =>
      withOccupied((port) =>
        withCommand(async ({ start, control, directory, children }) => {
          fs.writeFileSync(path.join(directory, 'c.json'), JSON.stringify({ startUpLimit: 2000, onGiveUp }));
          const args = ['-w', '2', '--control', control, '--config', 'c.json', 'app.js'];
          const cluster = start(args, { PORT: port });
          await until('the socket is there', () => fs.existsSync(control));
          const status = ['status', '--wait', 'ready', '--control', control];
          const waits = spawn(process.execPath, [COMMAND, ...status], {
            stdio: ['ignore', 'ignore', 'pipe'],
          });
          children.push(waits);
          let said = '';
          waits.stderr.setEncoding('utf8').on('data', (text) => (said += text));
          const [[code], [waited]] = await Promise.all([once(cluster, 'close'), once(waits, 'close')]);
          assert.deepStrictEqual([code, waited], [70, 1], said);
          assert.ok(said.includes(`given up: ${ERROR}${port}`), said);
          const lines = `${cluster.text}`.trimEnd().split('\n');
          const first = lines.find((line) => line.includes('failed to start')) ?? '';
          assert.match(
            first,
            /; the next one starts in \d+ ms; if no worker becomes ready within 2 s, rcluster gives up$/,
          );
          assert.match(
            lines.at(-1) ?? '',
            /^rcluster: gave up, and the primary exits with code 70; the last failure: /,
          );
          assert.ok(lines.at(-1)?.includes(`${ERROR}${port}`), lines.at(-1));
        }),
      ),
  );
}
