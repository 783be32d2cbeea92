'use strict';

// Runs the tests that are written in JavaScript on each Node version that rcluster supports. With `--others` the
// version that runs this is left out: `npm test` has just used it.

const { spawnSync } = require('node:child_process');
const path = require('node:path');

const { nodes } = require('./nodes.js');
const { root } = require('./platform.js');

const words = process.argv.slice(2).filter((word) => word !== '--others');
const others = process.argv.includes('--others');

const failed = [];
for (const node of nodes()) {
  const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  const version = stdout.trim();
  if (others && version === process.version) continue;
  console.log(`\n== Node ${version}`);
  const { status, error } = spawnSync(node, ['__test__/run.js', ...words], {
    cwd: root,
    // What a test starts as plain `node` is this one, too.
    env: { ...process.env, PATH: path.dirname(node) + path.delimiter + process.env.PATH },
    stdio: 'inherit',
  });
  if (error) throw error;
  if (status !== 0) failed.push(version);
}

if (failed.length > 0) {
  console.error(`\nThe tests failed on Node ${failed.join(', ')}.`);
  process.exitCode = 1;
}
