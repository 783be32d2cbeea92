'use strict';

const { Error, JSON, Number, Object, process } = require('./globals');
const fs = require('node:fs');
const path = require('node:path');

/** @typedef {typeof import('../binding')} Binding */

// A bundle of ES modules has no __dirname.
const ROOT = path.join(typeof __dirname === 'string' ? __dirname : '', '..');

/** The file that `napi build` generates. It selects the native library for this machine. */
const BINDING = path.join(ROOT, 'binding.js');

/** @type {Binding | undefined} */
let binding;

/**
 * Loads the native part, once.
 * @returns {Binding}
 * @throws {Error} ERR_RCLUSTER_BINDING, with the loader's own error, if any, as its `cause`.
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
 * Loads the native part that the primary names, without the generated loader, which is large and tries many
 * paths.
 * @param {string} addon Its path; or where its files are gone a descriptor that the primary has kept open, closed when
 * this returns.
 * @returns {Binding}
 * @throws {Error} ERR_RCLUSTER_BINDING
 */
function loadBindingFrom(addon) {
  if (binding !== undefined) {
    closeAddon(addon);
    return binding;
  }
  const isKept = !path.isAbsolute(addon);
  const holder = /** @type {any} */ ({ exports: {} });
  try {
    const file = isKept ? `/proc/self/fd/${addon}` : addon;
    process.dlopen(holder, file);
  } catch (cause) {
    const reason = isKept
      ? 'Its files are gone, and what the primary has kept cannot be loaded. Restart the primary.'
      : explain(cause);
    throw failure(reason, cause);
  } finally {
    closeAddon(addon);
  }
  checkVersion(holder.exports);
  binding = holder.exports;
  return /** @type {Binding} */ (binding);
}

/**
 * Closes the native part that the primary names, if it is a descriptor.
 * @param {string | undefined} addon See `loadBindingFrom`.
 */
function closeAddon(addon) {
  if (addon !== undefined && !path.isAbsolute(addon)) fs.closeSync(Number(addon));
}

/** @param {unknown} cause */
function explain(cause) {
  return require('./binding-failure').explain(cause, BINDING, manifest());
}

/**
 * The folder of this package, and the path of the native part that is loaded.
 * @returns {import('../binding').PackageFiles}
 */
function packageFiles() {
  loadBinding();
  const { children = [] } = require.cache[BINDING] ?? {};
  const addon = children.find(({ filename }) => filename.endsWith('.node'))?.filename ?? '';
  return { root: ROOT, addon };
}

/**
 * Whether this code is inside a bundle, so that the files next to it are elsewhere.
 */
function isBundled() {
  return typeof __filename !== 'string' || __filename !== path.join(ROOT, 'lib', 'load-binding.js');
}

const BUNDLED =
  'It is inside a bundle, and workers cannot load it from there: keep rcluster external and install it beside the ' +
  'bundle (esbuild --external:rcluster; `externals` of webpack, `external` of Rollup and others, --external of ncc).';

/**
 * Refuses a binary of another version, which would otherwise fail without explanation at the first call that
 * it lacks.
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

/** @returns {{ name: string, version: string, napi?: { packageName?: string } }} */
function manifest() {
  return JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
}

/** Whether the files of this package are there, and of the version that this process has started with. */
function isInPlace() {
  try {
    const { version } = manifest();
    return binding === undefined || binding.version() === version;
  } catch {
    return false;
  }
}

module.exports = { closeAddon, isInPlace, loadBinding, loadBindingFrom, packageFiles };
