'use strict';

// Links between README.md, CONTRIBUTING.md and the pages in docs/ lead to files and headings that exist, and so do the paths
// of sources in them.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const { ROOT, pages } = require('../helpers/snippets.js');

/**
 * @param {string} text
 * @returns {string} the text without code
 */
function prose(text) {
  return text
    .replace(/^```.*?^```$/gms, '')
    .replace(/`[^`\n]*`/g, (code) => code.replaceAll(/[[\]()]/g, ' '));
}

/**
 * As GitHub generates them: lower case, without punctuation, spaces become dashes.
 * @param {string} file
 * @returns {Set<string>}
 */
function anchorsOf(file) {
  const text = fs.readFileSync(file, 'utf8').replace(/^```.*?^```$/gms, '');
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

let count = 0;
for (const page of pages()) {
  test(`the links of ${page}`, () => {
    const file = path.join(ROOT, page);
    const links = prose(fs.readFileSync(file, 'utf8')).matchAll(/\]\(([^)\s]+)\)|src="([^"]+)"/g);
    for (const [, link, image] of links) {
      const target = link ?? image;
      if (/^[a-z]+:/.test(target)) continue;
      const [to, anchor] = target.split('#');
      const found = to === '' ? file : path.join(path.dirname(file), to);
      assert(fs.existsSync(found), `${page}: ${target} exists`);
      if (anchor !== undefined) assert(anchorsOf(found).has(anchor), `${page}: ${target} is a heading`);
      count++;
    }
  });
}

test('the sources that pages name exist', () => {
  let named = 0;
  for (const page of pages()) {
    const text = fs.readFileSync(path.join(ROOT, page), 'utf8');
    for (const [, file] of text.matchAll(
      /`((?:src|crates|lib|scripts|examples|__test__|benchmark)\/[\w./-]+)`/g,
    )) {
      assert(fs.existsSync(path.join(ROOT, file)), `${page}: ${file} exists`);
      named++;
    }
  }
  assert(named > 20, 'sources are named');
});

test('every page in docs/ is linked from README.md', () => {
  assert(count > 50, 'links are found');
  const readme = fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8');
  for (const page of pages().filter((name) => name.startsWith('docs/'))) {
    assert(readme.includes(`](${page})`), `README.md links ${page}`);
  }
});
