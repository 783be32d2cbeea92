'use strict';

// `rcluster start` on a terminal that is closed.

const assert = require('node:assert');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { freePorts } = require('../../testing/ports.js');
const { isBuiltin } = require('../../testing/subject.js');
const { onTerminal } = require('../helpers/terminal.js');
const { withoutPython } = require('../helpers/python.js');

const skip = (isBuiltin && 'the built-in has no command') || withoutPython;
const COMMAND = path.join(__dirname, '..', '..', 'bin', 'rcluster.js');

// Node 20 aborts at any exit without its terminal, which it cannot restore.
const EXIT = process.versions.node.startsWith('20.') ? -6 : 0;

// The answer begins at once, and ends when the worker has been told to retire. A worker that SIGHUP ends never gets there.
const APP = `
const cluster = require(${JSON.stringify(path.join(__dirname, '..', '..'))});
require('node:http').createServer((request, response) => {
  response.write('begun ');
  cluster.worker.once('retire', () => response.end('finished'));
}).listen(Number(process.env.PORT), '127.0.0.1');
`;

test('when its terminal is closed, the cluster drains and ends', { skip }, async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-terminal-'));
  const app = path.join(directory, 'app.js');
  fs.writeFileSync(app, APP);
  const [port] = await freePorts(1);
  const env = { ...process.env, PORT: String(port), NODE_TEST_CONTEXT: undefined };
  const argv = [process.execPath, COMMAND, 'start', '-w', '1', '--control', path.join(directory, 'c'), app];
  try {
    await onTerminal(argv, { env }, async (terminal) => {
      await terminal.shows(/1 worker of app\.js is ready/);
      const [response] = await once(http.get({ host: '127.0.0.1', port, agent: false }), 'response');
      const pieces = response.setEncoding('utf8')[Symbol.asyncIterator]();
      let text = (await pieces.next()).value;
      terminal.close();
      for await (const piece of { [Symbol.asyncIterator]: () => pieces }) text += piece;
      assert.strictEqual(text, 'begun finished');
      assert.deepStrictEqual(await terminal.ended(), { code: EXIT });
    });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});

test('in the background of a terminal, the signals that it sends have no effect', { skip }, async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-terminal-'));
  const app = path.join(directory, 'app.js');
  fs.writeFileSync(app, APP);
  const [port] = await freePorts(1);
  const env = { ...process.env, PORT: String(port), NODE_TEST_CONTEXT: undefined };
  const command = `'${process.execPath}' '${COMMAND}' start -w 1 --control '${directory}/c' '${app}'`;
  // With job control, the shell makes a background job a process group of its own. It reads from the terminal.
  const script = `set -m; ${command} & for signal in TTIN TTOU TERM; do read line; kill -$signal $!; done; wait $!`;
  try {
    await onTerminal(['bash', '-c', script], { env }, async (terminal) => {
      await terminal.shows(/1 worker of app\.js is ready/);
      for (const signal of ['SIGTTIN', 'SIGTTOU']) {
        terminal.press('\r');
        await terminal.shows(new RegExp(`${signal} is ignored in the background of a terminal`));
      }
      terminal.press('\r');
      await terminal.shows(/stopping; the workers have/);
      assert.strictEqual((await terminal.ended()).code, 0);
    });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
