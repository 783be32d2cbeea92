'use strict';

const path = require('node:path');

/** The value of RCLUSTER_SUBJECT that runs the same tests on the built-in. */
const BUILTIN = 'node:cluster';
/** The package itself. */
const OURS = path.join(__dirname, '..');

/**
 * The module under test. Every fixture and every test loads it from here, so that one environment variable
 * runs all of them on the built-in. A test that passes there checks behaviour that applications rely on; one
 * that fails there shows what this package adds.
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
