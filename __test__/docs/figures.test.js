'use strict';

// The figures at the top of README.md are measured: docs/benchmarks.md contains each of them, for the same program.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const ROOT = path.join(__dirname, '..', '..');
const read = (/** @type {string} */ name) => fs.readFileSync(path.join(ROOT, name), 'utf8');

/** @param {string} line @returns {string[]} the cells of a row, without emphasis */
function cells(line) {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.replaceAll('*', '').trim());
}

test('the first table of README.md has figures of docs/benchmarks.md', () => {
  const lines = read('README.md').split('\n');
  const begin = lines.findIndex((line) => line.startsWith('|'));
  const rows = lines
    .slice(
      begin + 2,
      lines.findIndex((line, place) => place > begin && !line.startsWith('|')),
    )
    .map(cells)
    .map(([what, ...figures]) => [what, ...figures.map((figure) => figure.split(' ')[0])]);
  assert.strictEqual(rows.length, 3, 'three figures');

  const measured = read('docs/benchmarks.md').split('\n').map(cells);
  for (const [what, builtin, ours] of rows) {
    for (const [program, figure] of [
      ['built-in round robin', builtin],
      ['rcluster', ours],
    ]) {
      assert.match(figure, /^[\d.]+$/, what);
      assert(
        measured.some(([name, ...values]) => name?.startsWith(program) && values.includes(figure)),
        `${what}: ${figure} is measured for ${program}; after a new run of the benchmarks, take the new figures`,
      );
    }
  }
});
