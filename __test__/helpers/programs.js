'use strict';

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { killAll, membersOf, until } = require('../../testing/processes.js');
const { withFixture } = require('./run-fixture.js');

const APPS = path.join(__dirname, '..', 'fixtures', 'apps');

/** The certificate of the programs that speak TLS. */
const certificate = fs.readFileSync(path.join(__dirname, '..', 'fixtures', 'tls', 'certificate.pem'), 'utf8');

/**
 * Runs an unchanged program in two workers. After the body they are disconnected, and must end by themselves.
 * @param {string} name of a file in `fixtures/apps`, or the path of another, without '.js'
 * @param {(target: { port: number, host: string }, pids: number[]) => Promise<void>} body
 */
function withProgram(name, body) {
  return withFixture('run-app.js', { env: { APP: path.resolve(APPS, `${name}.js`) } }, async (fixture) => {
    const workers = [await fixture.marker('listening'), await fixture.marker('listening')];
    const [{ port, address }] = workers;
    assert.strictEqual(workers[1].port, port);
    await body(
      { port, host: address },
      workers.map(({ pid }) => pid),
    );
    fixture.tell('disconnect');
    for (let count = 0; count < workers.length; count++) {
      assert.deepStrictEqual(await fixture.marker('exit'), { code: 0, signal: null });
    }
  });
}

/**
 * Sends requests until every worker has answered once.
 * @param {number[]} pids
 * @param {() => Promise<number>} ask returns the process id of the worker that answers
 */
async function askAll(pids, ask) {
  const answered = new Set();
  await until('every worker has answered', async () => {
    const pid = await ask();
    assert.ok(pids.includes(pid), `answered by process ${pid}`);
    return answered.add(pid).size === pids.length;
  });
}

/**
 * Repeats a load, and its assertions, until every worker has answered a part of it: on a busy machine, a worker may not run
 * meanwhile.
 * @param {number[]} pids
 * @param {(round: number) => Promise<number[]>} load returns the process ids of the workers that answered
 */
async function loadAll(pids, load) {
  let round = 0;
  await until('every worker has answered', async () => {
    const answered = new Set(await load(round++));
    for (const pid of answered) assert.ok(pids.includes(pid), `answered by process ${pid}`);
    return answered.size === pids.length;
  });
}

/**
 * A command that runs, how it ends (code and signal, once its output has been read), and what it has written so far.
 * @typedef {{ pid: number, exit: Promise<[code: number | null, signal: string | null]>, output: () => string }} Command
 */

/**
 * Runs a command as a shell would: as the leader of a process group. The body must end it, after which no
 * process of the group may remain.
 * @param {string[]} command
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} options
 * @param {(command: Command) => Promise<void>} body
 */
async function withCommand([file, ...args], options, body) {
  const child = spawn(file, args, { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const pid = /** @type {number} */ (child.pid);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => {
      output += chunk;
    });
  }
  const exit = /** @type {Command['exit']} */ (once(child, 'close'));
  try {
    await body({ pid, exit, output: () => output });
    await until('no process is left', () => membersOf(pid).length === 0);
  } catch (error) {
    throw new Error(`${error.message}\n--- output ---\n${output}--- end ---`, { cause: error });
  } finally {
    killAll(pid);
  }
}

module.exports = { withCommand, withProgram, certificate, askAll, loadAll };
