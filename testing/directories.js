'use strict';

const { spawnSync } = require('node:child_process');
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

/**
 * Runs a program in a process of its own, from a file, because its workers run the same file. Its output ends when the last
 * worker that has inherited it ends.
 * @param {string} source
 * @param {NodeJS.ProcessEnv} [env]
 */
function runProgram(source, env = process.env) {
  return withDirectory((directory) => {
    const file = path.join(directory, 'program.js');
    fs.writeFileSync(file, source);
    return spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 60_000, env });
  });
}

module.exports = { withDirectory, runProgram };
