'use strict';

// The licences of what is linked into the native part: every crate, and Rust's own library.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { root } = require('./platform.js');

/**
 * @typedef {{ id: string, name: string, version: string, license: string | null, repository: string | null,
 *   manifest_path: string, authors: string[], targets: { kind: string[] }[] }} Crate
 * @typedef {{ id: string, deps: { pkg: string, dep_kinds: { kind: string | null }[] }[] }} Node
 */

/** The licence without its copyright line: rcluster's own has the same text. */
const MIT = read(root, 'LICENSE').replace(/^[^]*?(?=Permission is hereby granted)/, '');

/** The file names of licences. */
const LICENCE_FILE = /^(licen[cs]e|copying|copyright|notice|unlicense)/i;

/**
 * The text of THIRD-PARTY-NOTICES.md for one system.
 * @param {string} target a Rust target triple: crates for other systems are not linked
 * @returns {string}
 */
function notices(target) {
  const crates = linkedCrates(target);
  const parts = crates.map((crate) =>
    section(`${crate.name} ${crate.version}`, crate.license, licences(crate)),
  );
  return [
    '# Third-party notices\n',
    'The native part of rcluster contains the following software.\n',
    ...parts,
    section(`Rust standard library (${rustcVersion()})`, 'MIT OR Apache-2.0', [
      `Copyright (c) The Rust Project contributors\n\n${MIT}`,
    ]),
  ].join('\n');
}

/**
 * The crates whose code is in the library or the command: all dependencies, direct or not, except procedural
 * macros and those used only for building or testing.
 * @param {string} target
 * @returns {Crate[]} by name
 */
function linkedCrates(target) {
  const { status, stdout, error } = spawnSync(
    'cargo',
    ['metadata', '--locked', '--format-version', '1', '--filter-platform', target],
    { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 28, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  if (error) throw error;
  if (status !== 0) throw new Error('cargo could not tell what the native part consists of');
  /** @type {{ packages: Crate[], workspace_members: string[], resolve: { root: string, nodes: Node[] } }} */
  const { packages, workspace_members: own, resolve } = JSON.parse(stdout);
  const crates = new Map(packages.map((crate) => [crate.id, crate]));
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]));
  /** @type {Set<string>} */
  const linked = new Set();
  const command = packages.find(({ id, name }) => name === 'rcluster-cli' && own.includes(id));
  if (!command) throw new Error('the workspace has no command');
  const pending = [resolve.root, command.id];
  for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
    if (linked.has(id)) continue;
    const crate = crates.get(id);
    const node = nodes.get(id);
    if (!crate || !node) throw new Error(`cargo names ${id} and does not describe it`);
    if (crate.targets.some(({ kind }) => kind.includes('proc-macro'))) continue;
    linked.add(id);
    for (const { pkg, dep_kinds: kinds } of node.deps) {
      if (kinds.some(({ kind }) => kind === null)) pending.push(pkg);
    }
  }
  return packages
    .filter(({ id }) => linked.has(id) && !own.includes(id))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * The text of a crate's licence. Of alternatives that include MIT, rcluster uses MIT.
 * @param {Crate} crate
 * @returns {string[]}
 */
function licences(crate) {
  const folder = path.dirname(crate.manifest_path);
  const files = fs.readdirSync(folder).filter((name) => LICENCE_FILE.test(name));
  const chosen = files.filter((name) => /mit/i.test(name));
  const texts = (chosen.length > 0 ? chosen : files).map((name) => read(folder, name));
  if (texts.length > 0) return texts;
  // Some crates only name it in their manifest.
  if (crate.license !== 'MIT') throw new Error(`${crate.name} ${crate.version} has no text of its licence`);
  return [`Copyright (c) ${crate.authors.join(', ') || `the authors of ${crate.name}`}\n\n${MIT}`];
}

/**
 * @param {string} folder
 * @param {string} name
 */
function read(folder, name) {
  return fs.readFileSync(path.join(folder, name), 'utf8').trim();
}

function rustcVersion() {
  const { status, stdout, error } = spawnSync('rustc', ['--version'], { cwd: root, encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error('rustc cannot tell its version');
  return stdout.trim();
}

/**
 * @param {string} title
 * @param {string | null} licence
 * @param {string[]} texts
 */
function section(title, licence, texts) {
  const blocks = texts.map((text) => `\n\`\`\`\`text\n${text}\n\`\`\`\`\n`);
  return `## ${title}\n\nLicence: ${licence ?? 'see below'}\n${blocks.join('')}`;
}

module.exports = { notices };

if (require.main === module) console.log(notices(process.argv[2] ?? 'x86_64-unknown-linux-gnu'));
