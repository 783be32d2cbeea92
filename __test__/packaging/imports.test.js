'use strict';

// Tests and benchmarks do not import each other. Their common code is in `testing`, which imports neither.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const ROOT = path.join(__dirname, '..', '..');

/** The folders to which the files of a folder must not refer. */
const CLOSED = {
  __test__: ['benchmark'],
  benchmark: ['__test__'],
  testing: ['__test__', 'benchmark'],
  lib: ['__test__', 'benchmark', 'testing'],
  scripts: ['__test__', 'benchmark'],
};

/** A path that is required, imported, resolved or only named in a type. */
const SPECIFIER = /(?:\b(?:require|require\.resolve|import)\(|\bfrom )'(\.[^']*)'/g;
/** A path that is joined. */
const JOINED = /\bpath\.(?:join|resolve)\(__dirname((?:, '[^']*')+)/g;

/**
 * @param {string} file
 * @param {string} text
 * @returns {string[]} the paths to which it refers, relative to the project
 */
function references(file, text) {
  const joined = [...text.matchAll(JOINED)].map(([, parts]) => parts.match(/[^', ]+/g)?.join('/') ?? '');
  const required = [...text.matchAll(SPECIFIER)].map(([, specifier]) => specifier);
  return [...required, ...joined].map((to) => path.relative(ROOT, path.resolve(path.dirname(file), to)));
}

test('references are found, however they are written', () => {
  const text = `
    const { a } = require('../other/a.js');
    /** @type {import('../other/b').B} */
    import c from '../other/c.mjs';
    const d = require.resolve('../other/d');
    const e = path.join(__dirname, '..', 'other', 'e', name);
    const f = await import('../other/f.js');`;
  const found = references(path.join(ROOT, 'one', 'file.js'), text);
  const expected = ['a.js', 'b', 'c.mjs', 'd', 'e', 'f.js'].map((name) => `other/${name}`);
  assert.deepStrictEqual(found.sort(), expected);
});

for (const [folder, closed] of Object.entries(CLOSED)) {
  test(`${folder} refers to nothing in ${closed.join(', ')}`, () => {
    const files = fs
      .readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.[cm]?[jt]s$/.test(file) && !file.includes('node_modules'))
      .map((file) => path.join(ROOT, folder, file));
    assert.notStrictEqual(files.length, 0);
    const wrong = files.flatMap((file) =>
      references(file, fs.readFileSync(file, 'utf8'))
        .filter((to) => closed.includes(to.split(path.sep)[0]))
        .map((to) => `${path.relative(ROOT, file)} refers to ${to}`),
    );
    assert.deepStrictEqual(wrong, []);
  });
}
