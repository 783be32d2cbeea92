'use strict';

// Runs the tests: all of them, or those whose path contains one of the given words: the name of a folder or file, or a part of it.
//
//   node __test__/run.js
//   node __test__/run.js supervision
//   node __test__/run.js draining/http blocked
//   node __test__/run.js --without=docs,ecosystem    all but those in these folders
//   RCLUSTER_SUBJECT=node:cluster node __test__/run.js
//
// The files are listed here because the versions of Node differ in which files `node --test <directory>` considers tests.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { installEcosystem } = require('../scripts/ecosystem.js');

const ROOT = path.join(__dirname, '..');

/** The folders of tests: those of the benchmarks are next to the tested files. */
const FOLDERS = ['__test__', 'benchmark'];

const WITHOUT = '--without=';
const words = process.argv.slice(2).filter((word) => !word.startsWith(WITHOUT));
const without = process.argv
  .slice(2)
  .filter((word) => word.startsWith(WITHOUT))
  .flatMap((word) => word.slice(WITHOUT.length).split(','));
const files = FOLDERS.flatMap((folder) =>
  fs
    .readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.js') && !file.includes('node_modules'))
    .map((file) => path.join(folder, file)),
)
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .filter((file) => !file.split(path.sep).some((folder) => without.includes(folder)))
  .sort()
  .map((file) => path.join(ROOT, file));

if (files.length === 0) {
  console.error(`no test file has ${words.join(' or ')} in its path`);
  process.exit(1);
}

// The packages that some tests need are many and large, so `npm install` does not install them.
if (files.some((file) => file.startsWith(path.join(__dirname, 'ecosystem')))) installEcosystem();

const runner = spawn(process.execPath, ['--test', '--test-concurrency=3', ...files], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => runner.kill(/** @type {NodeJS.Signals} */ (signal)));
}
runner.on('exit', (code, signal) => {
  process.exitCode = signal ? 1 : code;
});
