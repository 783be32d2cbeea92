'use strict';

// The file of a Unix socket is gone when the primary has exited, whatever has become of its workers: it would keep
// the next start from its path.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { withDirectory } = require('../../testing/directories.js');
const { runProgram } = require('../../testing/run-program.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no supervision';

/**
 * Runs a primary that ends by itself.
 * @param {(file: string) => { primary: string, worker: string }} make
 * @param {number} expected its exit code
 */
function leavesNoFile(make, expected) {
  return withDirectory(async (directory) => {
    const file = path.join(directory, 'a.sock');
    const { primary, worker } = make(JSON.stringify(file));
    const program = `
      const cluster = require(${JSON.stringify(isBuiltin ? 'node:cluster' : OURS)});
      const net = require('node:net');
      if (cluster.isPrimary) { ${primary} } else { ${worker} }`;
    const { status, stderr } = await runProgram(program);
    assert.strictEqual(status, expected, stderr);
    assert.strictEqual(fs.existsSync(file), false, stderr);
  });
}

for (const [how, end] of Object.entries({
  fails: 'process.exit(1)',
  'is killed': "process.kill(process.pid, 'SIGKILL')",
})) {
  test(`a primary exits at once when its last worker ${how}`, () =>
    leavesNoFile(
      (file) => ({
        primary: "cluster.fork(); cluster.on('exit', () => process.exit(7));",
        worker: `net.createServer().listen(${file}, () => setImmediate(() => ${end}));`,
      }),
      7,
    ));
}

test('a supervised primary gives up', { skip }, () =>
  leavesNoFile(
    (file) => ({
      primary: `cluster.supervise({
        workers: 1, log: false, control: 'off', restartIntensity: { max: 1 }, backoff: { initial: 1, max: 1 },
      });`,
      worker: `net.createServer().listen(${file}, () => setImmediate(() => process.exit(1)));`,
    }),
    70,
  ),
);

test('a supervised primary that forwards is stopped', { skip }, () =>
  leavesNoFile(
    (file) => ({
      primary: `
        cluster.setupPrimary({ forward: { path: ${file} } });
        cluster.supervise({ workers: 1, log: false, control: 'off' });
        cluster.on('listening', () => process.kill(process.pid, 'SIGTERM'));`,
      worker: 'net.createServer().listen(process.env.PORT);',
    }),
    0,
  ),
);
