'use strict';

const path = require('node:path');

/** What RCLUSTER_SUBJECT names to have the same tests run on the built-in. */
const BUILTIN = 'node:cluster';
/** The package itself. */
const OURS = path.join(__dirname, '..');

/**
 * The module under test. Every fixture and every test takes it from here, so that one variable of the environment runs
 * all of them on the built-in. A test that passes there asks for what applications rely on; one that fails there shows
 * what this package adds.
 */
const name = process.env.RCLUSTER_SUBJECT || OURS;

module.exports = {
  BUILTIN,
  OURS,
  name,
  isBuiltin: name === BUILTIN,
  /** @returns {import('node:cluster').Cluster} the cluster object of this process */
  load: () => require(name),
};
