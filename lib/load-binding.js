'use strict';

const { Array, Error, JSON, Object, process } = require('./globals');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

/** @typedef {typeof import('../binding')} Binding */

// In a bundle of ES modules there is no such name.
const ROOT = path.join(typeof __dirname === 'string' ? __dirname : '', '..');

/** The file that `napi build` generates. It picks the native library that fits the machine. */
const BINDING = path.join(ROOT, 'binding.js');

/** The machines a binary is published for. */
const PUBLISHED = ['linux-x64-gnu', 'linux-x64-musl', 'linux-arm64-gnu', 'linux-arm64-musl'];

/** @type {Binding | undefined} */
let binding;

/**
 * Loads the native part, once.
 * @returns {Binding}
 * @throws {Error} ERR_RCLUSTER_BINDING, with the loader's own error as its `cause` where there is one.
 */
function loadBinding() {
  if (binding === undefined) {
    if (isBundled()) throw failure(BUNDLED);
    /** @type {Binding} */
    let loaded;
    try {
      loaded = require(BINDING);
    } catch (cause) {
      throw failure(explain(cause), cause);
    }
    checkVersion(loaded);
    binding = loaded;
  }
  return binding;
}

/**
 * Loads the native part that the primary has kept open for this worker.
 * @param {number} fd Closed when this returns.
 * @throws {Error} ERR_RCLUSTER_BINDING
 */
function loadBindingFrom(fd) {
  const holder = /** @type {any} */ ({ exports: {} });
  try {
    process.dlopen(holder, `/proc/self/fd/${fd}`, os.constants.dlopen.RTLD_LAZY);
  } catch (cause) {
    const reason = 'Its files are gone, and what the primary has kept cannot be loaded. Restart the primary.';
    throw failure(reason, cause);
  } finally {
    fs.closeSync(fd);
  }
  checkVersion(holder.exports);
  binding = holder.exports;
}

/**
 * Where the files of this package are, and the native part that is loaded.
 * @returns {import('../binding').PackageFiles}
 */
function packageFiles() {
  const { children = [] } = require.cache[BINDING] ?? {};
  const addon = children.find(({ filename }) => filename.endsWith('.node'))?.filename ?? '';
  return { root: ROOT, addon };
}

/**
 * Whether this code is somewhere else than in its own file: then the files beside it are somewhere else, too.
 */
function isBundled() {
  return typeof __filename !== 'string' || __filename !== path.join(ROOT, 'lib', 'load-binding.js');
}

const BUNDLED =
  'It is inside a bundle, and workers cannot load it from there: keep rcluster external and install it beside the ' +
  'bundle (esbuild --external:rcluster; `externals` of webpack, `external` of Rollup and others, --external of ncc).';

/**
 * A binary of another version would fail at the first call that it does not know, and nobody could tell why.
 * @param {Partial<Binding>} loaded
 */
function checkVersion(loaded) {
  const { version } = manifest();
  const built = loaded.version?.();
  if (built === version) return;
  throw failure(
    `The binary was built from ${built ? `version ${built}` : 'an older version'} and this is version ${version}. ` +
      'In a checkout, run `npm run build`; elsewhere, remove node_modules and install again.',
  );
}

/**
 * @param {string} reason
 * @param {unknown} [cause]
 */
function failure(reason, cause) {
  const error = new Error(
    `rcluster cannot load its native part. ${reason}`,
    cause === undefined ? {} : { cause },
  );
  return Object.assign(error, { code: 'ERR_RCLUSTER_BINDING' });
}

/**
 * Says what is missing and what to do about it. The loader's own message cannot be relied on for that: it has tried
 * every place a binary might be in, and which of these failures was the telling one depends on the installation.
 * @param {unknown} cause
 */
function explain(cause) {
  if (!fs.existsSync(BINDING)) {
    return (
      'binding.js does not exist: this is a source checkout that has not been built. ' +
      'Run `npm install && npm run build` in it, which needs a Rust toolchain (https://rustup.rs).'
    );
  }

  const text = messages(cause);
  if (text.includes('loading addons is disabled')) {
    const [option, advice] = hasOption('--no-addons')
      ? ['--no-addons', 'start it without --no-addons.']
      : ['--permission', 'give it --allow-addons along with --permission.'];
    return `This process may not load native addons, because of ${option}: ${advice}`;
  }

  const target = `${process.platform}-${process.arch}-${libc()}`;
  const glibc = /version `?(GLIBC_[\d.]+)'? not found/.exec(text);
  if (glibc) {
    return (
      `The binary for ${target} needs ${glibc[1]} and this system's C library is older. ` +
      'Use a newer base system, or build from source: `npm run build` in a checkout, with a Rust toolchain.'
    );
  }
  if (!PUBLISHED.includes(target)) {
    return (
      `No binary is published for ${target} (there is one for ${PUBLISHED.join(', ')}). ` +
      'Build from source: `npm run build` in a checkout, with a Rust toolchain.'
    );
  }
  return (
    `The binary for ${target} is missing or broken. It comes in the optional dependency ` +
    `${packageName()}-${target}: install without --omit=optional, on the same kind of system that runs it ` +
    '(a node_modules copied from macOS, or from glibc to musl, lacks it), with a lock file that lists it.'
  );
}

/** @param {string} option of Node */
function hasOption(option) {
  const { NODE_OPTIONS = '' } = process.env;
  return [...process.execArgv, ...NODE_OPTIONS.split(' ')].includes(option);
}

/**
 * The messages of an error and of everything that caused it; the generated loader nests them.
 * @param {unknown} error
 * @returns {string}
 */
function messages(error) {
  if (!(error instanceof Error)) return Array.isArray(error) ? error.map(messages).join('\n') : '';
  return `${error.message}\n${messages(error.cause)}`;
}

/** @returns {'gnu' | 'musl'} The C library that Node itself runs on. */
function libc() {
  const maker = /** @type {NodeJS.ProcessReport & { excludeNetwork?: boolean }} */ (process.report);
  const { excludeNetwork } = maker;
  // Otherwise making the report can wait for name servers.
  maker.excludeNetwork = true;
  const report = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (maker.getReport());
  maker.excludeNetwork = excludeNetwork;
  return report.header?.glibcVersionRuntime ? 'gnu' : 'musl';
}

/** @returns {{ name: string, version: string, napi?: { packageName?: string } }} */
function manifest() {
  return JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
}

/** @returns {string} */
function packageName() {
  const { name, napi } = manifest();
  return napi?.packageName ?? name;
}

module.exports = { loadBinding, loadBindingFrom, packageFiles };
