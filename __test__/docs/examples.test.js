'use strict';

// The example starts, answers, and stops with all its processes.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { get } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');
const { withCommand } = require('../helpers/programs.js');

const EXAMPLES = path.join(__dirname, '..', '..', 'examples');

/**
 * @param {string} name of a file in examples/
 * @param {(command: import('../helpers/programs.js').Command) => Promise<void>} body
 */
function withExample(name, body) {
  const env = { ...process.env, PORT: '0' };
  return withCommand([process.execPath, path.join(EXAMPLES, name)], { env }, body);
}

const skip = isBuiltin
  ? 'the example is one of this package'
  : !fs.existsSync(EXAMPLES) && 'there are no examples';

for (const signal of ['SIGINT', 'SIGTERM']) {
  for (const to of ['the primary', 'the whole group, as a terminal does']) {
    test(`${signal} to ${to}`, { skip }, () =>
      withExample('http.js', async ({ pid, exit, output }) => {
        const [, port] = await until('it tells its address', () => /http:\/\/[^:]+:(\d+)/.exec(output()));
        const { status, body } = await get({ port: Number(port), host: '127.0.0.1' });
        assert.strictEqual(status, 200);
        assert.match(body, /\d/);
        process.kill(to === 'the primary' ? pid : -pid, signal);
        assert.deepStrictEqual(await exit, [0, null]);
      }),
    );
  }
}

test('the supervised example survives what its first lines describe', { skip }, () =>
  withExample('supervised.js', async ({ pid, exit, output }) => {
    const [, port] = await until('it tells its address', () => /http:\/\/[^:]+:(\d+)/.exec(output()));
    const target = { port: Number(port), host: '127.0.0.1' };
    assert.strictEqual((await get({ ...target, path: '/throw' })).status, 500);
    await until('it tells of the exception', () => output().includes('retire'));
    // Until its replacement has taken over, the retiring worker may still receive a request.
    await until('there is another', () => output().split('ready {').length > 3);
    await assert.rejects(get({ ...target, path: '/exit' }));
    await until('it tells of the exit', () => output().includes('restart'));
    assert.match((await get(target)).body, /^slot [01], process \d+\n$/);
    process.kill(pid, 'SIGHUP');
    await until('it has reloaded', () => output().includes('"phase":"done"'));
    assert.strictEqual((await get(target)).status, 200);
    process.kill(pid, 'SIGTERM');
    assert.deepStrictEqual(await exit, [0, null]);
  }),
);
