'use strict';

// Explains why the native part cannot be loaded.

const { Array, Error, process } = require('./globals');
const fs = require('node:fs');

/** The platforms with a published binary. */
const PUBLISHED = ['linux-x64-gnu', 'linux-x64-musl', 'linux-arm64-gnu', 'linux-arm64-musl'];

/**
 * Explains what is missing and what to do about it. The loader's own message is not reliable for that: it has
 * tried every place where a binary may be, and which of these failures matters depends on the installation.
 * @param {unknown} cause
 * @param {string} binding the path of the file that `napi build` generates
 * @param {{ name: string, napi?: { packageName?: string } }} manifest
 */
function explain(cause, binding, { name, napi }) {
  if (!fs.existsSync(binding)) {
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
    `${napi?.packageName ?? name}-${target}: install without --omit=optional, on the same kind of system that runs it ` +
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
  // Otherwise creating the report may wait for name servers.
  maker.excludeNetwork = true;
  const report = /** @type {{ header?: { glibcVersionRuntime?: string } }} */ (maker.getReport());
  maker.excludeNetwork = excludeNetwork;
  return report.header?.glibcVersionRuntime ? 'gnu' : 'musl';
}

module.exports = { explain, libc };
