'use strict';

// A cluster works in a process whose globals its application, libraries and tests have changed for all code of
// the process.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { DEADLINE, killAll } = require('../../testing/processes.js');
const { GROUPS } = require('../fixtures/api/pollute.js');

const FIXTURES = path.join(__dirname, '..', 'fixtures');
const skip = isBuiltin && 'it has no supervision';

/**
 * A primary whose functions may have been replaced: it reads commands from stdin, and writes events to
 * stdout.
 */
class Fixture {
  /**
   * @param {string[]} options of Node
   * @param {Record<string, string>} env
   */
  constructor(options, env) {
    const args = [
      ...options,
      '-r',
      path.join(FIXTURES, 'api', 'pollute.js'),
      path.join(FIXTURES, 'api', 'polluted.js'),
    ];
    this.child = spawn(process.execPath, args, { env: { ...process.env, ...env }, detached: true });
    this.output = '';
    this.rest = '';
    /** @type {any[]} */
    this.marks = [];
    this.child.stdout.setEncoding('utf8').on('data', (text) => this.onText(text));
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.output += text));
    this.closed = once(this.child, 'close').then(([code, signal]) => {
      this.end = { code, signal };
      this.child.emit('news');
      return this.end;
    });
    this.timer = setTimeout(() => killAll(this.child.pid), DEADLINE);
  }

  /** @param {string} text */
  onText(text) {
    this.output += text;
    const lines = `${this.rest}${text}`.split('\n');
    this.rest = lines.pop();
    this.marks.push(...lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)));
    this.child.emit('news');
  }

  /** @param {string} name */
  async marker(name) {
    for (;;) {
      const at = this.marks.findIndex(({ mark }) => mark === name);
      if (at >= 0) return this.marks.splice(at, 1)[0];
      if (this.end) throw new Error(`no mark '${name}'`);
      await once(this.child, 'news');
    }
  }

  /**
   * @param {number} port
   * @param {string} page
   * @returns {Promise<number>} the status
   */
  get(port, page) {
    return new Promise((resolve, reject) => {
      const request = http.get({ port, host: '127.0.0.1', path: page, agent: false }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode));
      });
      request.on('error', reject);
    });
  }
}

/**
 * Serves, answers the request that throws with 500, restarts, reloads and stops.
 * @param {Record<string, string>} env
 * @param {string[]} [options]
 * @param {{ attributes?: boolean }} [expected] whether the throwing request is known
 */
async function goesOn(env, options = [], { attributes = true } = {}) {
  const app = new Fixture(options, env);
  try {
    await app.marker('listening');
    await app.marker('polluted');
    const { port, ...first } = await app.marker('listening');
    let { pid } = first;
    for (let count = 0; count < 4; count++) assert.strictEqual(await app.get(port, '/'), 200);
    if (attributes) {
      assert.strictEqual(await app.get(port, '/throw'), 500);
      assert.strictEqual((await app.marker('exit')).code, 1);
      ({ pid } = await app.marker('listening'));
    }
    process.kill(pid, 'SIGKILL');
    assert.strictEqual((await app.marker('exit')).signal, 'SIGKILL');
    assert.match((await app.marker('restart')).reason, /SIGKILL/);
    await app.marker('listening');
    app.child.stdin.write('reload\n');
    assert.strictEqual((await app.marker('reloaded')).ready, 2);
    assert.strictEqual(await app.get(port, '/'), 200);
    app.child.kill('SIGTERM');
    assert.deepStrictEqual(await app.closed, { code: 0, signal: null });
    assert.doesNotMatch(app.output, /RCLUSTER_|has not drained/);
  } catch (error) {
    killAll(app.child.pid);
    await app.closed;
    throw new Error(`${error.message}\n${app.output}`, { cause: error });
  } finally {
    clearTimeout(app.timer);
    killAll(app.child.pid);
  }
}

for (const [name, { when }] of Object.entries(GROUPS)) {
  for (const POLLUTE of when) {
    test(`it works with: ${name} (${POLLUTE} it is loaded)`, { skip }, () =>
      goesOn({ POLLUTE, POLLUTION: name }),
    );
  }
}

for (const option of [
  '--frozen-intrinsics',
  '--disallow-code-generation-from-strings',
  '--disable-proto=throw',
  '--disable-proto=delete',
]) {
  test(`it works with ${option}`, { skip }, () => goesOn({}, [option]));
}
