'use strict';

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { DEADLINE } = require('../../testing/processes.js');

const SCRIPT = path.join(__dirname, 'service-manager.py');

/**
 * @typedef {{ kind: 'tcp' | 'udp' | 'unix', host?: string, port?: number, path?: string, name?: string, only?: boolean }} Socket
 *
 * @typedef {object} Manager
 * @property {string} directory A folder for this test.
 * @property {{ port: number, inode: number }[]} listening The sockets that it passes.
 * @property {any[]} told All messages that it has sent.
 * @property {(what: string | object) => void} tell `start`, a signal, or variables for the next start.
 * @property {<T>(what: string, pick: (message: any) => T | false | undefined) => Promise<T>} next The next message of a kind.
 * @property {() => string} errors The service's output on stderr.
 */

/**
 * Runs a service under a service manager of the test, which behaves like systemd.
 * @param {(directory: string) => { app: string, listen?: Socket[], env?: Record<string, string>, options?: string[], pid?: number }} describe
 * @param {(manager: Manager) => Promise<void>} body
 */
async function withServiceManager(describe, body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-service-'));
  const { app, listen = [], env = {}, options = [], pid } = describe(directory);
  fs.writeFileSync(path.join(directory, 'app.js'), app);
  const command = path.join(__dirname, '..', '..', 'bin', 'rcluster.js');
  const inherited = { ...process.env };
  delete inherited.NODE_TEST_CONTEXT;
  const config = {
    program: [
      process.execPath,
      command,
      'start',
      '--control',
      'off',
      ...options,
      path.join(directory, 'app.js'),
    ],
    env: { ...inherited, ...env },
    notify: path.join(directory, 'notify'),
    listen,
    pid,
  };
  const child = spawn('python3', [SCRIPT, JSON.stringify(config)], { stdio: 'pipe' });
  let hasEnded = false;
  /** @type {() => void} */
  let wake = () => {};
  // Not at its exit: then a part of what it has told may not have been read.
  const closed = once(child, 'close').then(() => {
    hasEnded = true;
    wake();
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
  /** @type {any[]} */
  const told = [];
  let taken = 0;
  readline.createInterface({ input: child.stdout }).on('line', (line) => {
    told.push(JSON.parse(line));
    wake();
  });
  /** @type {Manager['next']} */
  const next = async (what, pick) => {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      wake();
    }, DEADLINE);
    try {
      for (;;) {
        const woken = new Promise((resolve) => (wake = () => resolve(undefined)));
        while (taken < told.length) {
          const picked = pick(told[taken++]);
          if (picked !== false && picked !== undefined) return picked;
        }
        if (isLate || hasEnded) throw new Error(`not told: ${what}\n${JSON.stringify(told)}\n${errors}`);
        await woken;
      }
    } finally {
      clearTimeout(timer);
    }
  };
  try {
    const listening = await next('where it listens', (message) => message.listening);
    await body({
      directory,
      listening,
      told,
      tell: (what) =>
        void child.stdin.write(typeof what === 'string' ? `${what}\n` : `env ${JSON.stringify(what)}\n`),
      next,
      errors: () => errors,
    });
  } finally {
    child.stdin.end();
    await closed;
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

module.exports = { withServiceManager };
