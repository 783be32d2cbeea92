'use strict';

// Runs the tests that are written in JavaScript on each Node version that rcluster supports.

const { spawnSync } = require('node:child_process');
const path = require('node:path');

const { nodes } = require('./nodes.js');
const { root } = require('./platform.js');

const failed = [];
for (const node of nodes()) {
  const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  const version = stdout.trim();
  console.log(`\n== Node ${version}`);
  const { status, error } = spawnSync(node, ['__test__/run.js', ...process.argv.slice(2)], {
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
