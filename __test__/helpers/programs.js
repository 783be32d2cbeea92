'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { until } = require('../../testing/processes.js');
const { withFixture } = require('./run-fixture.js');

const APPS = path.join(__dirname, '..', 'fixtures', 'apps');

/** The certificate of the programs that speak TLS. */
const certificate = fs.readFileSync(path.join(__dirname, '..', 'fixtures', 'tls', 'certificate.pem'), 'utf8');

/**
 * Runs a program, unchanged, in two workers. When the body is over they are disconnected, and have to end by themselves.
 * @param {string} name of a file in `fixtures/apps`, or the path of another, less '.js'
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
 * Asks until every worker has answered once.
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

module.exports = { withProgram, certificate, askAll };
