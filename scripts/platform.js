'use strict';

const fs = require('node:fs');
const path = require('node:path');

const root = path.dirname(__dirname);

/** Why this system has no native part; null if it has one. */
function unsupported() {
  const supported = process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch);
  return supported ? null : `no native part for ${process.platform} on ${process.arch}`;
}

/** The name of this system's platform package, less the prefix: 'linux-x64-gnu', for example. */
function triple() {
  // Only glibc reports its version.
  const { header } = /** @type {{ header: Record<string, unknown> }} */ (process.report.getReport());
  return `${process.platform}-${process.arch}-${header.glibcVersionRuntime ? 'gnu' : 'musl'}`;
}

/** The name that Rust has for this system. */
function target() {
  const [, arch, libc] = triple().split('-');
  return `${arch === 'x64' ? 'x86_64' : 'aarch64'}-unknown-linux-${libc}`;
}

/** The file that the build writes for this system. */
function addon() {
  return path.join(root, `rcluster.${triple()}.node`);
}

/** The file that the build writes for the command `rcluster` on this system. */
function executable() {
  return path.join(root, `rcluster-cli.${triple()}`);
}

/**
 * The full path of a program that the shell would find, or null.
 * @param {string} program
 */
function which(program) {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.join(folder, program);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return file;
    } catch {
      // Not in this folder.
    }
  }
  return null;
}

module.exports = { root, unsupported, triple, target, addon, executable, which };
