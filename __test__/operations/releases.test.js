'use strict';

// `rcluster start` in a directory that is a symbolic link to the current release, or that is removed meanwhile.

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { COMMAND } = require('../helpers/command-line.js');

const skip = isBuiltin && 'the built-in has no command';

const APP = `
require('node:http')
  .createServer((request, response) => response.end([__dirname, process.cwd()].join()))
  .listen(0, '127.0.0.1');
`;

/** Two releases with the same app, and the link `current` to the first of them. */
class Releases {
  root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-releases-')));
  current = path.join(this.root, 'current');
  control = path.join(this.root, 'c.sock');
  text = '';

  constructor() {
    for (const name of ['1', '2']) {
      fs.mkdirSync(path.join(this.root, name));
      fs.writeFileSync(path.join(this.root, name, 'app.js'), APP);
    }
    this.switchTo('1');
  }

  /** @param {string} name */
  switchTo(name) {
    fs.symlinkSync(name, `${this.current}.new`);
    fs.renameSync(`${this.current}.new`, this.current);
  }

  /** @param {string} cwd @param {string[]} args */
  async start(cwd, ...args) {
    this.child = spawn(process.execPath, [COMMAND, 'start', '-w', '1', '--control', this.control, ...args], {
      cwd,
      // As a shell would set it.
      env: { ...process.env, PWD: cwd, NODE_TEST_CONTEXT: undefined },
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    this.exit = once(this.child, 'exit');
    this.child.stderr.setEncoding('utf8').on('data', (text) => {
      this.text += text;
    });
    await until('it is ready', () => /is ready/.test(this.text));
  }

  /** @param {string[]} args */
  run(...args) {
    const all = [COMMAND, ...args, '--control', this.control];
    return spawnSync(process.execPath, all, { cwd: this.root, encoding: 'utf8' });
  }

  /** @returns {Promise<string[]>} the directory of the app, and the working directory of its worker */
  async ask() {
    const port = Number(JSON.parse(this.run('status', '--json').stdout).dispatcher.listeners[0].name);
    const [response] = await once(http.get({ host: '127.0.0.1', port, agent: false }), 'response');
    let text = '';
    for await (const piece of response.setEncoding('utf8')) text += piece;
    return text.split(',');
  }

  async remove() {
    this.child?.kill('SIGKILL');
    await this.exit;
    fs.rmSync(this.root, { recursive: true });
  }
}

/** @param {(releases: Releases) => Promise<void>} body */
async function withReleases(body) {
  const releases = new Releases();
  try {
    await body(releases);
  } finally {
    await releases.remove();
  }
}

test('new workers follow the link to the next release, with their working directory', { skip }, () =>
  withReleases(async (releases) => {
    const [first, second] = ['1', '2'].map((name) => path.join(releases.root, name));
    await releases.start(releases.current, 'app.js');
    assert.deepStrictEqual(await releases.ask(), [first, first]);
    releases.switchTo('2');
    fs.rmSync(first, { recursive: true });
    assert.strictEqual(releases.run('reload').status, 0);
    assert.deepStrictEqual(await releases.ask(), [second, second]);
    assert.strictEqual(releases.run('stop').status, 0);
    assert.deepStrictEqual(await releases.exit, [0, null]);
  }),
);

test('code is watched through a link, even if the directory of the start has been removed', { skip }, () =>
  withReleases(async (releases) => {
    const directory = path.join(releases.root, 'old');
    fs.mkdirSync(directory);
    await releases.start(directory, '--watch', '../current/app.js');
    fs.rmdirSync(directory);
    fs.writeFileSync(path.join(releases.root, '1', 'other.js'), '');
    await until('it has reloaded', () => /other\.js has changed[^]*rcluster: reloaded/.test(releases.text));
    assert.strictEqual(releases.run('stop').status, 0);
    assert.deepStrictEqual(await releases.exit, [0, null]);
  }),
);

test('the switch of the link that is the working directory is noticed', { skip }, () =>
  withReleases(async (releases) => {
    await releases.start(releases.current, '--watch', 'app.js');
    releases.switchTo('2');
    await until('it has reloaded', () => /has changed, reloading[^]*rcluster: reloaded/.test(releases.text));
    const second = path.join(releases.root, '2');
    assert.deepStrictEqual(await releases.ask(), [second, second]);
    fs.writeFileSync(path.join(second, 'other.js'), '');
    await until('a change in the new one is noticed', () => /other\.js has changed/.test(releases.text));
  }),
);
