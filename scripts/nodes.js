'use strict';

// Installs the Node versions that rcluster is tested with into .nodes, and prints where they are.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const platform = require('./platform.js');

const MAJORS = [20, 22, 24, 26];
const folder = path.join(platform.root, '.nodes');

/**
 * The programs, oldest first. Installed ones are not checked for updates: remove .nodes to renew them.
 * @returns {string[]}
 */
function nodes() {
  const programs = MAJORS.map((major) => path.join(folder, 'node_modules', `node-${major}`, 'bin', 'node'));
  if (!programs.every((program) => fs.existsSync(program))) install();
  return programs;
}

function install() {
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n');
  // npm has a package with the program for each system, in a version for each of Node's.
  const packages = MAJORS.map(
    (major) => `node-${major}@npm:node-${process.platform}-${process.arch}@${major}`,
  );
  // The packages would all link to the same .bin/node.
  const options = ['--no-bin-links', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status, error } = spawnSync('npm', ['install', ...options, ...packages], {
    cwd: folder,
    // The output of npm is not part of the result.
    stdio: ['ignore', process.stderr, process.stderr],
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`npm could not install ${packages.join(', ')}`);
}

module.exports = { nodes };

if (require.main === module) console.log(nodes().join('\n'));
