'use strict';

/**
 * Runs the suites one after the other, and writes docs/benchmarks.md, its chart and the figures in README.md.
 *
 *   npm run bench                          everything, some 25 minutes on two quiet cores
 *   npm run bench -- --quick               only checks that everything works, in less than 7 minutes
 *   npm run bench -- --only burst,mixed    only these; earlier results of the others are kept
 */

const { fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const { drawCharts } = require('./lib/chart');
const { run } = require('./lib/main');
const { readOptions } = require('./lib/options');
const { writePage } = require('./lib/page');
const { withFigures } = require('./lib/readme');
const { RESULTS, circumstances } = require('./lib/report');
const { print } = require('../testing/tables.js');
const { suites } = require('./lib/suites');

const ROOT = path.join(__dirname, '..');
const DOCS = path.join(ROOT, 'docs');
const README = path.join(ROOT, 'README.md');

/**
 * The running suite; it ends with this process.
 * @type {import('node:child_process').ChildProcess | undefined}
 */
let current;
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) {
  process.on(signal, () => {
    current?.kill('SIGTERM');
    process.exit(1);
  });
}

run(async () => {
  const options = readOptions('All suites; docs/benchmarks.md and the figures in README.md from them.', {
    quick: { default: false, help: 'a single short round of each: to see that everything works' },
    only: { default: '', help: 'suites to run, comma-separated; the last results of the others are used' },
  });
  const names = suites.map(({ name }) => name);
  const wanted = options.only ? options.only.split(',').map((name) => name.trim()) : names;
  const unknown = wanted.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`no suite '${unknown.join(', ')}' among ${names.join(', ')}`);

  const machine = circumstances();
  const began = Date.now();
  /** @type {import('./lib/page').Suite[]} */
  const measured = [];
  for (const { name, full, quick } of suites) {
    const file = wanted.includes(name) ? await measure(name, options.quick ? quick : full) : newest(name);
    measured.push({ name, result: file && JSON.parse(fs.readFileSync(file, 'utf8')) });
  }
  const charts = measured.flatMap(({ result }) => result?.section.charts ?? []);
  fs.writeFileSync(path.join(DOCS, 'benchmarks.svg'), drawCharts('Benchmarks of rcluster', charts));
  fs.writeFileSync(path.join(DOCS, 'benchmarks.md'), writePage(machine, measured));
  fs.writeFileSync(README, withFigures(fs.readFileSync(README, 'utf8'), measured));
  print(`\ndocs/benchmarks.md, its chart and the figures in README.md are written, after ${minutes(began)}`);
  const failed = wanted.filter((wanted) => !measured.some(({ name, result }) => name === wanted && result));
  if (failed.length > 0) throw new Error(`without a result: ${failed.join(', ')}`);
});

/**
 * Runs a suite in a process of its own.
 * @param {string} name
 * @param {readonly string[]} args
 * @returns {Promise<string | undefined>} the file with its results, if it has any
 */
async function measure(name, args) {
  const began = Date.now();
  print(`\n=== ${name} ${args.join(' ')}`);
  const child = fork(path.join(__dirname, `${name}.js`), [...args, '--check'], { execArgv: [] });
  current = child;
  /** @type {string | undefined} */
  let file;
  child.on('message', (/** @type {any} */ { results }) => {
    file = results;
  });
  const [code, signal] = await once(child, 'exit');
  current = undefined;
  print(`=== ${name}: ${file ? 'done' : `ended with ${code ?? signal}`} after ${minutes(began)}`);
  return file;
}

/**
 * The last results of a suite.
 * @param {string} name
 * @returns {string | undefined}
 */
function newest(name) {
  if (!fs.existsSync(RESULTS)) return undefined;
  // The names end with the time.
  const files = fs.readdirSync(RESULTS).filter((file) => file.startsWith(`${name}-2`));
  const last = files.sort().at(-1);
  return last && path.join(RESULTS, last);
}

/** @param {number} since */
function minutes(since) {
  return `${((Date.now() - since) / 60_000).toFixed(1)} min`;
}
