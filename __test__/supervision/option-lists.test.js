'use strict';

// The options of supervise() are listed in three places: the rules of the code, the types and the docs. They name
// the same options and defaults. The rules of Rust are tested in crates/core/src/control/supervise/options.rs.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { runInNewContext } = require('node:vm');

const ROOT = path.join(__dirname, '..', '..');
const ROWS = require('../../lib/primary/supervise/options.json');
const { PRIMARY_ONLY } = require('../../lib/primary/supervise/options.js');

const read = (name) => fs.readFileSync(path.join(ROOT, name), 'utf8');
const isTop = ({ path: name }) => !name.includes('.');
/** All options at the top. */
const names = () => [...ROWS.filter(isTop).map((row) => row.path), ...PRIMARY_ONLY].sort();
const fieldsOf = (group) => ROWS.filter(({ path: name }) => name.startsWith(`${group}.`));
const isIn = (text, value) => assert.ok(text.includes(value), `"${value}" is not in "${text}"`);

/** The default of each option in the table, after the option's name. */
function documented() {
  const [, table] = read('docs/supervision.md').split('\n## Options\n');
  const [rows] = table.split('\n## ');
  return [...rows.matchAll(/^\| `(\w+)` \| (.*?) \|/gm)].map(([, name, text]) => [name, text]);
}

/** The members of an interface, each with a comment before it and indented by this many spaces. */
function membersOf(source, indent) {
  const pattern = new RegExp(`^ {${indent}}/\\*\\*((?:(?!\\*/).)*)\\*/\\n {${indent}}(\\w+)\\?:`, 'gms');
  return new Map([...source.matchAll(pattern)].map(([, comment, name]) => [name, comment]));
}

function interfaceOf(name) {
  const [, source] = read('types/supervise.d.ts').split(`export interface ${name} {`);
  return source.slice(0, source.indexOf('\n}'));
}

/** @param {unknown} value A value as the docs and types write it: for example 30,000 and `'text'`. */
const written = (value) =>
  typeof value === 'number' ? value.toLocaleString('en-US') : `\`${inspected(value)}\``;
const inspected = (value) => (typeof value === 'string' ? `'${value}'` : String(value));

test('the docs have every option, and its default', () => {
  const table = documented();
  assert.deepStrictEqual(table.map(([name]) => name).sort(), names());
  for (const [name, text] of table) {
    if (PRIMARY_ONLY.includes(name)) {
      assert.strictEqual(text.trim(), 'none', name);
      continue;
    }
    const row = ROWS.find((candidate) => candidate.path === name);
    const fields = fieldsOf(name);
    const followed = [row, ...fields].find(({ follows }) => follows !== null);
    if (followed !== undefined) {
      isIn(text, `\`${followed.follows.split('.').at(-1)}\``);
      continue;
    }
    const expected =
      row.rule.kind === 'group'
        ? Object.fromEntries(fields.map((field) => [field.path.slice(name.length + 1), field.default]))
        : row.default;
    const value = runInNewContext(`JSON.stringify(${text.replace(' (off)', '').replaceAll('`', '')})`);
    assert.deepStrictEqual(JSON.parse(value), expected, name);
  }
});

test('the types have every option, and its default', () => {
  const options = interfaceOf('SuperviseOptions');
  const members = membersOf(options, 2);
  assert.deepStrictEqual([...members.keys()].sort(), names());
  for (const name of PRIMARY_ONLY) isIn(members.get(name).replaceAll(/\s+\*\s+/g, ' '), 'Default: none');
  for (const row of ROWS.filter(({ rule, path: name }) => rule.kind !== 'group' && !name.includes('.'))) {
    const comment = members.get(row.path).replaceAll(/\s+\*\s+/g, ' ');
    const value = row.rule.kind === 'list-of-whole' ? 'none' : written(row.default);
    isIn(comment, `Default: ${row.follows === null ? value : `\`${row.follows}\``}`);
  }
  for (const group of ['backoff', 'recycle']) {
    const [, body] = options.split(`\n  ${group}?:`);
    assertFields(membersOf(body.slice(0, body.indexOf('\n      }')), 8), group);
  }
  assertFields(membersOf(interfaceOf('RestartIntensity'), 2), 'restartIntensity');
});

/** @param {Map<string, string>} members */
function assertFields(members, group) {
  const fields = fieldsOf(group);
  const names = fields.map((row) => row.path.slice(group.length + 1));
  assert.deepStrictEqual([...members.keys()].sort(), names.sort(), group);
  for (const row of fields) {
    isIn(members.get(row.path.slice(group.length + 1)), `Default: ${written(row.default)}`);
  }
}
