'use strict';

// Workers that share state are killed at random. For longer runs, and to repeat one: `node __test__/faults/shared/run.js`.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';

test('shared state stays consistent, whichever process is killed', { skip }, async (t) => {
  const args = ['--kills', '25', '--workers', '3', '--seed', `${Date.now() % 2 ** 31}`, '--minutes', '1'];
  t.diagnostic(`node __test__/faults/shared/run.js ${args.join(' ')}`);
  const program = require.resolve('./shared/run.js');
  const run = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => run.kill('SIGKILL'));
  let said = '';
  for (const stream of [run.stdout, run.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => (said += text));
  }
  const [code] = await once(run, 'close');
  for (const line of said.trimEnd().split('\n')) t.diagnostic(line);
  assert.strictEqual(code, 0, said);
  // It must not pass merely because nothing was done.
  const [, acknowledged, added] = /(\d+) acknowledged[^]*?(\d+) added/.exec(said) ?? [];
  assert(Number(acknowledged) > 0 && Number(added) > 0, said);
});
