'use strict';

// Run by `rcluster doctor`: prints the version of this Node, and whether it can load the native part.

const { JSON, process } = require('../globals');

/** @returns {string | null} why it cannot be loaded */
function failure() {
  try {
    require('../load-binding').loadBinding();
    return null;
  } catch (error) {
    return /** @type {Error} */ (error).message;
  }
}

process.stdout.write(`${JSON.stringify({ version: process.versions.node, failure: failure() })}\n`);
