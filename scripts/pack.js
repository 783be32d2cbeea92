'use strict';

// Packs the package and the platform package of this system, and prints where the two files are.
//
//   node scripts/pack.js [folder]     dist, unless another is named

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { root, triple, addon } = require('./platform.js');

/**
 * @param {string} folder
 * @returns {string[]}
 */
function pack(folder) {
  const platformPackage = path.join(root, 'npm', triple());
  checkVersions(platformPackage);
  fs.copyFileSync(addon(), path.join(platformPackage, path.basename(addon())));
  fs.mkdirSync(folder, { recursive: true });
  return [root, platformPackage].map((from) => {
    // The scripts would build, and what they print would be mixed with the answer.
    const options = ['--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder];
    const { status, stdout, error } = spawnSync('npm', ['pack', ...options], {
      cwd: from,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (error) throw error;
    if (status !== 0) throw new Error(`npm could not pack ${from}`);
    return path.join(folder, Object.values(JSON.parse(stdout))[0].filename);
  });
}

/**
 * A package that loads another version's native part would fail in ways that nobody could explain.
 * @param {string} platformPackage
 */
function checkVersions(platformPackage) {
  const [main, part] = [root, platformPackage].map((folder) => {
    return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).version;
  });
  const crate = /^version = "(.*)"$/m.exec(fs.readFileSync(path.join(root, 'Cargo.toml'), 'utf8'))?.[1];
  if (main !== part || main !== crate) {
    throw new Error(`the versions differ: package ${main}, platform package ${part}, crate ${crate}`);
  }
}

module.exports = { pack };

if (require.main === module) {
  console.log(pack(path.resolve(process.argv[2] ?? path.join(root, 'dist'))).join('\n'));
}
