'use strict';

// Packs the package and the platform package of this system as they are published, and prints where the two files are.
//
//   node scripts/pack.js [folder]     dist, unless another is named
//
// The manifests in the repository are for building and testing. The published packages are assembled in the
// folder first: the main package then has the platform packages as optional dependencies, and both have the
// licences and addresses.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const { notices } = require('./notices.js');
const { root, triple, target, addon, executable } = require('./platform.js');

/** The fields that a platform package shares with the main one. */
const SHARED = /** @type {const} */ (['license', 'author', 'homepage', 'bugs', 'repository', 'engines']);

/**
 * @param {string} folder
 * @returns {string[]} the file of the main package, then that of the platform package
 */
function pack(folder) {
  fs.mkdirSync(folder, { recursive: true });
  return [layOutMain(path.join(folder, 'rcluster')), layOutPlatform(path.join(folder, triple()))].map(
    (from) => {
      const options = ['--json', '--ignore-scripts', '--loglevel=error', '--pack-destination', folder];
      const { status, stdout, error } = spawnSync('npm', ['pack', ...options], {
        cwd: from,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      if (error) throw error;
      if (status !== 0) throw new Error(`npm could not pack ${from}`);
      return path.join(folder, Object.values(JSON.parse(stdout))[0].filename);
    },
  );
}

/**
 * @param {string} folder
 * @returns {string} the folder
 */
function layOutMain(folder) {
  // Users need neither: `prepare` builds, and the tools are for that.
  const { scripts: _scripts, devDependencies: _tools, ...manifest } = readManifest(root);
  const platforms = fs
    .readdirSync(path.join(root, 'npm'))
    .map((name) => readManifest(path.join(root, 'npm', name)));
  for (const { name, version } of platforms) checkVersion(name, version, manifest.version);
  const crate = /^version = "(.*)"$/m.exec(fs.readFileSync(path.join(root, 'Cargo.toml'), 'utf8'))?.[1];
  checkVersion('the crate', crate, manifest.version);

  startAnew(folder);
  // npm omits files with an exclamation mark when it packs the folder.
  const copied = manifest.files.filter((/** @type {string} */ name) => !name.startsWith('!'));
  for (const name of [...copied, 'README.md', 'LICENSE']) {
    fs.cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
  }
  const optionalDependencies = Object.fromEntries(platforms.map(({ name, version }) => [name, version]));
  return writeManifest(folder, { ...manifest, optionalDependencies });
}

/**
 * @param {string} folder
 * @returns {string} the folder
 */
function layOutPlatform(folder) {
  const source = path.join(root, 'npm', triple());
  const manifest = readManifest(source);
  const main = readManifest(root);
  startAnew(folder);
  fs.cpSync(source, folder, { recursive: true });
  for (const file of [addon(), executable()]) fs.copyFileSync(file, path.join(folder, path.basename(file)));
  fs.copyFileSync(path.join(root, 'LICENSE'), path.join(folder, 'LICENSE'));
  fs.writeFileSync(path.join(folder, 'THIRD-PARTY-NOTICES.md'), notices(target()));
  const shared = Object.fromEntries(SHARED.map((key) => [key, main[key]]));
  shared.repository = { ...main.repository, directory: `npm/${triple()}` };
  return writeManifest(folder, {
    ...manifest,
    ...shared,
    files: [...manifest.files, 'THIRD-PARTY-NOTICES.md'],
  });
}

/** @param {string} folder What an earlier run left there could end up in the package. */
function startAnew(folder) {
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder);
}

/** @param {string} folder */
function readManifest(folder) {
  return JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
}

/**
 * @param {string} folder
 * @param {object} manifest
 */
function writeManifest(folder, manifest) {
  fs.writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  return folder;
}

/**
 * Checks the version, because a package that loads another version's native part would fail inexplicably.
 * @param {string} what
 * @param {string | undefined} version
 * @param {string} expected
 */
function checkVersion(what, version, expected) {
  if (version !== expected) throw new Error(`the package has version ${expected} and ${what} has ${version}`);
}

module.exports = { pack };

if (require.main === module) {
  console.log(pack(path.resolve(process.argv[2] ?? path.join(root, 'dist'))).join('\n'));
}
