'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Error, Object, realProcess: process } = require('../globals');

const ROOT = path.join(__dirname, '..', '..');

/** The name of the executable for one system. */
const nameFor = (/** @type {string} */ libc) => `rcluster-cli.${process.platform}-${process.arch}-${libc}`;

/**
 * Finds the executable for this system: beside the native part, in a checkout or in the platform package.
 * @returns {string} its path
 * @throws {Error} ERR_RCLUSTER_BINDING
 */
function findExecutable() {
  for (const libc of ['gnu', 'musl']) {
    const file = path.join(ROOT, nameFor(libc));
    if (fs.existsSync(file)) return file;
  }
  const found = ['gnu', 'musl'].flatMap(inPackage);
  // Installers that ignore the C library have installed both.
  const file = found.length > 1 ? found.find((name) => name.endsWith(libcOfNode())) : found[0];
  if (file !== undefined) return file;
  const error = new Error(
    `The command rcluster has no executable for ${process.platform} on ${process.arch}: it comes in an optional ` +
      'dependency of the package, for Linux on x64 and arm64. Install without --omit=optional, on the same kind of system.',
  );
  throw Object.assign(error, { code: 'ERR_RCLUSTER_BINDING' });
}

/** Loaded only here: it is rarely needed. */
function libcOfNode() {
  return require('../binding-failure').libc();
}

/** @param {string} libc */
function inPackage(libc) {
  const { name } = require('../../package.json');
  const file = `${name}-${process.platform}-${process.arch}-${libc}/${nameFor(libc)}`;
  try {
    return [require.resolve(file)];
  } catch {
    // Not installed. Of the two packages, only one is.
    return [];
  }
}

module.exports = { findExecutable };
