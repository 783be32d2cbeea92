'use strict';

// docs/errors.md contains every code of errors and warnings, and no code that does not exist.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { declarations, pages } = require('../helpers/snippets.js');
const { OURS: ROOT } = require('../../testing/subject.js');

const SOURCES = ['index.js', 'index.mjs', 'register.js', 'lib', 'src', 'crates'];
const NAME = /\b(?:ERR_)?RCLUSTER_[A-Z]+(?:_[A-Z]+)*\b/g;

/** @param {string} entry @returns {string[]} the files of a folder, or the file itself */
function filesOf(entry) {
  const file = path.join(ROOT, entry);
  if (!fs.existsSync(file)) return [];
  if (!fs.statSync(file).isDirectory()) return [file];
  return fs
    .readdirSync(file, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(js|mjs|rs)$/.test(name) && !/(^|\/)(tests|testing|target)(\/|\.rs$)/.test(name))
    .map((name) => path.join(file, name));
}

/** @param {string} file @returns {string} its text without comments and, in Rust, without the tests at the end */
function codeOf(file) {
  const text = fs.readFileSync(file, 'utf8').replace(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  return file.endsWith('.rs') ? text.replace(/^#\[cfg\(test\)\]\s*mod \w+ \{.*/ms, '') : text;
}

const code = SOURCES.flatMap(filesOf).map(codeOf).join('\n');
const inCode = new Set(code.match(NAME));
const emitted = new Set(code.match(new RegExp(`(?<=code: ['"])${NAME.source}`, 'g')));

/** @returns {Map<string, string>} the text of each section that has a code for its heading */
function sectionsOf(page) {
  const parts = page.split(/^#{2,3} /m).map((part) => {
    const end = part.indexOf('\n');
    return /** @type {[string, string]} */ ([part.slice(0, end).replaceAll('`', ''), part.slice(end)]);
  });
  return new Map(parts.filter(([heading]) => heading.match(NAME)?.[0] === heading));
}

test('every code has a section or a line in docs/errors.md, and the other way round', () => {
  const page = fs.readFileSync(path.join(ROOT, 'docs', 'errors.md'), 'utf8');
  assert(inCode.size > 20 && emitted.has('RCLUSTER_LINK'), 'the codes are found');
  assert.deepStrictEqual(
    [...new Set(page.match(NAME))].toSorted(),
    [...inCode].toSorted(),
    'the page and the code name the same codes and variables',
  );
});

test('what the code emits has a section that says what happened, why, and what to do', () => {
  const page = fs.readFileSync(path.join(ROOT, 'docs', 'errors.md'), 'utf8');
  const sections = sectionsOf(page);
  const variables = new Set(page.split(/^## Environment variables$/m)[1]?.match(NAME));
  for (const name of inCode) {
    // Some names are environment variables, and two are both a code and a variable.
    if (emitted.has(name) || !variables.has(name)) assert(sections.has(name), `${name} has a section`);
  }
  for (const [name, text] of sections) {
    for (const part of ['What happened.', 'Why.', 'What to do.']) {
      assert.match(text, new RegExp(`\\*\\*${part.replace('.', '\\.')}\\*\\* \\S`), `${name}: ${part}`);
    }
  }
});

/** The variables of the tests themselves, which only the page for contributors may name. */
const inTests = fs.readFileSync(path.join(ROOT, 'crates', 'testing', 'src', 'seed.rs'), 'utf8').match(NAME);

test('other documents and the types name no code that does not exist', () => {
  for (const page of [...pages(), ...declarations(), 'CHANGELOG.md']) {
    for (const name of fs.readFileSync(path.join(ROOT, page), 'utf8').match(NAME) ?? []) {
      const isOfTests = page === 'CONTRIBUTING.md' && inTests.includes(name);
      assert(inCode.has(name) || isOfTests, `${page} names ${name}`);
    }
  }
});
