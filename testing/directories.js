'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

// Names made of this process's id would not be unique: ids are used again, and what a killed process leaves behind stays.

/**
 * Runs `body` with a new, empty directory, which is removed afterwards.
 * @template T
 * @param {(directory: string) => T | Promise<T>} body
 * @returns {Promise<T>}
 */
async function withDirectory(body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-'));
  try {
    return await body(directory);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

module.exports = { withDirectory };
