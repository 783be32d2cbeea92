'use strict';

// Runs the tests that are written in JavaScript on each Node version that rcluster supports.
//
//   --others    leaves out the version that runs this: `npm test` has just used it
//   --essence   leaves out what does not depend on the version, and on all but the newest what hardly does

const { spawnSync } = require('node:child_process');
const path = require('node:path');

const { nodes } = require('./nodes.js');
const { root } = require('./platform.js');

/** Folders of tests that are independent of the version: documents, packages, attacks on the native code. */
const ALIKE = ['benchmark', 'docs', 'ecosystem', 'packaging', 'sabotage'];

/** Folders of tests that use little of Node, and none of its internals. */
const NATIVE = ['adapters', 'operations', 'redis'];

const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const others = process.argv.includes('--others');
const essence = process.argv.includes('--essence');

const all = nodes();
for (const node of all) {
  const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  const version = stdout.trim();
  if (others && version === process.version) continue;
  const left = node === all.at(-1) ? ALIKE : [...ALIKE, ...NATIVE];
  const without = essence ? [`--without=${left}`] : [];
  console.log(`\n== Node ${version}`);
  const { status, error } = spawnSync(node, ['__test__/run.js', ...words, ...without], {
    cwd: root,
    // A plain `node` in a test is this version, too.
    env: { ...process.env, PATH: path.dirname(node) + path.delimiter + process.env.PATH },
    stdio: 'inherit',
  });
  if (error) throw error;
  if (status !== 0) {
    // Newer versions are not tried, so that the output ends with the tests that failed.
    console.error(`\nThe tests failed on Node ${version}.`);
    process.exitCode = 1;
    break;
  }
}
