'use strict';

// Runs the command `rcluster` in a directory of its own, with an app that is not written for a cluster.

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const COMMAND = path.join(__dirname, '..', '..', 'bin', 'rcluster.js');

const APP = `
const http = require('node:http');
const server = http.createServer((request, response) => {
  if (request.url === '/hang') for (;;);
  response.end(JSON.stringify({ pid: process.pid, args: process.argv.slice(2), variable: process.env.VARIABLE }));
});
server.listen(Number(process.env.PORT), '127.0.0.1');
`;

/** @param {(run: ReturnType<typeof tools>) => Promise<void>} body */
async function withCommand(body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-command-'));
  fs.writeFileSync(path.join(directory, 'app.js'), APP);
  const run = tools(directory);
  try {
    await body(run);
  } finally {
    // Those that still run may be creating files.
    for (const child of run.children.filter(
      ({ exitCode, signalCode }) => (exitCode ?? signalCode) === null,
    )) {
      const exit = once(child, 'exit');
      child.kill('SIGKILL');
      await exit;
    }
    fs.rmSync(directory, { recursive: true });
  }
}

/** @param {string} directory the directory of the sockets of this test's clusters */
function tools(directory) {
  /** @type {import('node:child_process').ChildProcess[]} */
  const children = [];
  const env = { ...process.env, XDG_RUNTIME_DIR: directory, RUNTIME_DIRECTORY: '', PORT: '0' };
  delete env.NODE_TEST_CONTEXT;
  env.PATH = `${path.dirname(process.execPath)}:${env.PATH}`;
  const control = path.join(directory, 'c.sock');
  /** @param {string} file @param {string[]} args @param {Record<string, string>} [more] */
  const launch = (file, args, more = {}) => {
    const child = spawn(file, args, {
      cwd: directory,
      env: { ...env, ...more },
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      child.text = `${child.text ?? ''}${text}`;
    });
    children.push(child);
    return child;
  };
  return {
    directory,
    children,
    control,
    /** As npx and package scripts do. @param {string[]} args @param {Record<string, string>} [more] */
    start: (args, more) => launch(COMMAND, ['start', ...args], more),
    /** As service managers and containers do. @param {string[]} args @param {Record<string, string>} [more] */
    startByNode: (args, more) => launch(process.execPath, [COMMAND, 'start', ...args], more),
    /** @param {string[]} args */
    run(...args) {
      const { status, signal, stdout, stderr } = spawnSync(COMMAND, args, {
        cwd: directory,
        env,
        encoding: 'utf8',
      });
      assert.strictEqual(signal, null);
      return { status, stdout, stderr };
    },
  };
}

module.exports = { COMMAND, withCommand };
