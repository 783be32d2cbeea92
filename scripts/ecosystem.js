'use strict';

// Installs the packages for the tests in __test__/ecosystem, unless they are installed already.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { root } = require('./platform.js');

const folder = path.join(root, '__test__', 'ecosystem');
const manifest = path.join(folder, 'package.json');
/** The manifest of the last installation. */
const stamp = path.join(folder, 'node_modules', '.rcluster-installed.json');

function installEcosystem() {
  const wanted = fs.readFileSync(manifest, 'utf8');
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted) return;
  console.log('rcluster: installing the packages for __test__/ecosystem.');
  // None of them needs its install scripts, and some warn about versions of Node that they were not tested
  // with.
  const options = ['--ignore-scripts', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status, error } = spawnSync('npm', ['install', ...options], { cwd: folder, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) throw new Error(`npm could not install what ${manifest} lists`);
  fs.writeFileSync(stamp, wanted);
}

module.exports = { installEcosystem };
