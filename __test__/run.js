'use strict';

// Runs the tests: all of them, or those whose path contains one of the words given: a folder's name, a file's, or a part of one.
//
//   node __test__/run.js
//   node __test__/run.js supervision
//   node __test__/run.js draining/http blocked
//   node __test__/run.js --without=docs,ecosystem    all but those in these folders
//   RCLUSTER_SUBJECT=node:cluster node __test__/run.js
//
// The files are listed here because the versions of Node differ in what `node --test <directory>` takes for a test.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { installEcosystem } = require('../scripts/ecosystem.js');

const ROOT = path.join(__dirname, '..');

/** Where tests are: those of the benchmarks are beside what they test. */
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

// The packages that some tests are about are many and large, so they are no business of `npm install`.
if (files.some((file) => file.startsWith(path.join(__dirname, 'ecosystem')))) installEcosystem();

const runner = spawn(process.execPath, ['--test', '--test-concurrency=3', ...files], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => runner.kill(/** @type {NodeJS.Signals} */ (signal)));
}
runner.on('exit', (code, signal) => {
  process.exitCode = signal ? 1 : code;
});
