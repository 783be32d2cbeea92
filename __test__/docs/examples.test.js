'use strict';

// The example starts, answers, and stops with everything it has started.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { get } = require('../../testing/clients.js');
const { until, membersOf, killAll } = require('../../testing/processes.js');

const EXAMPLES = path.join(__dirname, '..', '..', 'examples');

/** Runs the example as a shell would: as the leader of a group of its own. */
async function withExample(name, body) {
  const example = spawn(process.execPath, [path.join(EXAMPLES, name)], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PORT: '0' },
  });
  let output = '';
  for (const stream of [example.stdout, example.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => {
      output += chunk;
    });
  }
  const exit = once(example, 'exit');
  try {
    await body({ example, exit, output: () => output });
    await until('nobody is left', () => membersOf(example.pid).length === 0);
  } catch (error) {
    throw new Error(`${error.message}\n--- output of the example ---\n${output}--- end ---`, {
      cause: error,
    });
  } finally {
    killAll(example.pid);
  }
}

const skip = isBuiltin
  ? 'the example is one of this package'
  : !fs.existsSync(EXAMPLES) && 'there are no examples';

for (const signal of ['SIGINT', 'SIGTERM']) {
  for (const to of ['the primary', 'the whole group, as a terminal does']) {
    test(`${signal} to ${to}`, { skip }, () =>
      withExample('http.js', async ({ example, exit, output }) => {
        const [, port] = await until('it tells its address', () => /http:\/\/[^:]+:(\d+)/.exec(output()));
        const { status, body } = await get({ port: Number(port), host: '127.0.0.1' });
        assert.strictEqual(status, 200);
        assert.match(body, /\d/);
        process.kill(to === 'the primary' ? example.pid : -example.pid, signal);
        assert.deepStrictEqual(await exit, [0, null]);
      }),
    );
  }
}

test('the supervised one survives what its first lines say', { skip }, () =>
  withExample('supervised.js', async ({ example, exit, output }) => {
    const [, port] = await until('it tells its address', () => /http:\/\/[^:]+:(\d+)/.exec(output()));
    const target = { port: Number(port), host: '127.0.0.1' };
    assert.strictEqual((await get({ ...target, path: '/throw' })).status, 500);
    await until('it tells of the exception', () => output().includes('retire'));
    // Until the other one has taken over the one that goes may still get a request.
    await until('there is another', () => output().split('ready {').length > 3);
    await assert.rejects(get({ ...target, path: '/exit' }));
    await until('it tells of the exit', () => output().includes('restart'));
    assert.match((await get(target)).body, /^slot [01], process \d+\n$/);
    process.kill(example.pid, 'SIGHUP');
    await until('it has reloaded', () => output().includes('"phase":"done"'));
    assert.strictEqual((await get(target)).status, 200);
    process.kill(example.pid, 'SIGTERM');
    assert.deepStrictEqual(await exit, [0, null]);
  }),
);
