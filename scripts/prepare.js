'use strict';

// Builds the native part. npm runs this as the `prepare` script, also where nothing can or must be built; it
// explains each such case.
//   --force   builds whether or not the sources have changed
//   --debug   builds quickly, without optimisation; the next plain run builds the release again

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const platform = require('./platform.js');

const MINIMUM_NODE = [20, 17];
const MINIMUM_RUST = [1, 88];
const GENERATED = ['binding.js', 'binding.d.ts'].map((name) => path.join(platform.root, name));

const force = process.argv.includes('--force');
const debug = process.argv.includes('--debug');

main();

function main() {
  const unsupported = platform.unsupported();
  if (unsupported) return say(`${unsupported}: node:cluster serves in its place.`);

  const cli = commandLineInterface();
  if (!cli) return say('@napi-rs/cli is not installed, so the native part is not built here.');
  if (!force && !debug && isFresh()) return say(`${path.basename(platform.addon())} is up to date.`);

  const missing = missingToolchain();
  if (missing) return fail(missing);
  return build(cli);
}

/** @param {string} cli */
function build(cli) {
  const started = new Date();
  // The other packages of the workspace are built as dependencies.
  const options = ['--package', 'rcluster', '--platform', '--js', 'binding.js', '--dts', 'binding.d.ts'];
  if (!debug) options.unshift('--release');
  say(`building ${debug ? 'without optimisation' : 'the release'}; the first time takes a minute or two.`);
  const { status, signal, error } = spawnSync(process.execPath, [cli, 'build', ...options], {
    cwd: platform.root,
    env: { ...process.env, RUSTFLAGS: flags() },
    stdio: 'inherit',
  });
  if (error) throw error;
  if (signal) return fail(`the build was ended by ${signal}.`);
  if (status !== 0) return fail(`the build failed with code ${status}; the reason stands above.`);

  if (!buildExecutable()) return undefined;

  // A source saved during the build is newer than what the compiler read. And a debug build never counts as
  // the release.
  const time = debug ? new Date(0) : started;
  const built = [platform.addon(), platform.executable()];
  for (const file of built) fs.utimesSync(file, time, time);
  return say(`built ${built.map((file) => path.basename(file)).join(' and ')}.`);
}

/** Builds the command `rcluster`. @returns {boolean} whether it is there */
function buildExecutable() {
  const profile = debug ? [] : ['--release'];
  const { status, signal, error } = spawnSync(
    'cargo',
    // For the same target as the addon, whose crates it shares.
    ['build', '--locked', '--package', 'rcluster-cli', '--target', platform.target(), ...profile],
    { cwd: platform.root, env: { ...process.env, RUSTFLAGS: flags() }, stdio: 'inherit' },
  );
  if (error) throw error;
  if (status !== 0) {
    fail(`the command could not be built: ${signal ?? `code ${status}`}; the reason stands above.`);
    return false;
  }
  const folder = process.env.CARGO_TARGET_DIR ?? path.join(platform.root, 'target');
  const file = path.join(folder, platform.target(), debug ? 'debug' : 'release', 'rcluster');
  // A running executable cannot be written to, but can be replaced.
  fs.rmSync(platform.executable(), { force: true });
  fs.copyFileSync(file, platform.executable());
  return true;
}

/**
 * Flags that remove folder names from the locations of panics: the binary would otherwise contain the folders
 * of the machine that built it, and two builds of the same sources would differ.
 */
function flags() {
  const home = process.env.CARGO_HOME ?? path.join(os.homedir(), '.cargo');
  const crates = path.join(home, 'registry', 'src');
  // Each registry has a folder of its own there. If two prefixes match, the later one is used.
  const registries = fs.existsSync(crates)
    ? fs.readdirSync(crates).map((name) => path.join(crates, name))
    : [];
  const folders = [os.homedir(), home, crates, ...registries, platform.root];
  const names = ['home', 'cargo', 'crates', ...registries.map(() => 'crates'), 'rcluster'];
  const remapped = folders.map((folder, index) => `--remap-path-prefix=${folder}=${names[index]}`);
  return [process.env.RUSTFLAGS, ...remapped].filter(Boolean).join(' ');
}

/** Whether the release build is newer than all its inputs. */
function isFresh() {
  const built = Math.min(modified(platform.addon()), modified(platform.executable()));
  if (built === 0 || GENERATED.some((file) => modified(file) === 0)) return false;
  const folders = ['src', 'crates'];
  const sources = folders.flatMap((folder) =>
    fs
      .readdirSync(path.join(platform.root, folder), { encoding: 'utf8', recursive: true })
      .map((name) => path.join(folder, name)),
  );
  // Folders are included, because their times change when files are deleted.
  return ['Cargo.toml', 'Cargo.lock', 'build.rs', ...folders, ...sources].every(
    (name) => modified(path.join(platform.root, name)) < built,
  );
}

/**
 * The modification time of a file; 0 if it does not exist.
 * @param {string} file
 */
function modified(file) {
  return fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Why the native part cannot be built with the installed tools, or null. */
function missingToolchain() {
  const node = process.versions.node.split('.').map(Number);
  if (isOlder(node, MINIMUM_NODE)) {
    return `building the native part takes Node ${MINIMUM_NODE.join('.')}, and this is ${process.version}.`;
  }
  const least = MINIMUM_RUST.join('.');
  const advice = `install Rust ${least} or newer (https://rustup.rs) and run \`npm install\` again.`;
  if (!platform.which('cargo') || !platform.which('rustc')) {
    return `the native part is built with Rust, and there is no cargo on the PATH: ${advice}`;
  }
  const { stdout } = spawnSync('rustc', ['--version'], { cwd: platform.root, encoding: 'utf8' });
  const version = /^rustc (\d+)\.(\d+)/.exec(stdout ?? '');
  if (!version) return `rustc is on the PATH and does not run: ${advice}`;
  if (isOlder(version.slice(1).map(Number), MINIMUM_RUST)) {
    return `the native part needs Rust ${least}, and this is ${version[0]}: ${advice}`;
  }
  if (
    !platform.which('cc') &&
    !Object.keys(process.env).some((name) => /^CARGO_TARGET_.*_LINKER$/.test(name))
  ) {
    return 'Rust links with the C compiler, and there is no cc on the PATH: install gcc or clang.';
  }
  return null;
}

/**
 * Compares the major and the minor numbers of two versions.
 * @param {number[]} version
 * @param {number[]} minimum
 */
function isOlder([major, minor], minimum) {
  return major < minimum[0] || (major === minimum[0] && minor < minimum[1]);
}

/** The command-line interface of napi-rs; null if this package is installed as a dependency. */
function commandLineInterface() {
  try {
    const manifest = require.resolve('@napi-rs/cli/package.json', { paths: [platform.root] });
    const { bin } = JSON.parse(fs.readFileSync(manifest, 'utf8'));
    return path.join(path.dirname(manifest), bin.napi);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'MODULE_NOT_FOUND') return null;
    throw error;
  }
}

/** @param {string} sentence */
function say(sentence) {
  console.log(`rcluster: ${sentence}`);
}

/** @param {string} sentence */
function fail(sentence) {
  console.error(`rcluster: ${sentence}`);
  process.exitCode = 1;
}
