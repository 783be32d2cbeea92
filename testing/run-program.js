'use strict';

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { withDirectory } = require('./directories.js');

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

module.exports = { runProgram };
