'use strict';

// The descriptors that a process may have.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');

/**
 * Uses up all descriptors of this process except `rest`.
 * @param {number} rest
 * @returns {number[]} those that have been opened
 */
function exhaust(rest) {
  const files = [];
  try {
    for (;;) files.push(fs.openSync('/dev/null'));
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EMFILE') throw error;
  }
  for (const file of files.splice(0, rest)) fs.closeSync(file);
  return files;
}

/** The limit of a process for open files. @param {number} pid */
function limitOfFiles(pid) {
  return Number(/^Max open files\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1]);
}

/** @param {number} pid @param {number} limit */
function limitFiles(pid, limit) {
  const { status, stderr } = spawnSync('prlimit', ['--pid', `${pid}`, `--nofile=${limit}:`]);
  if (status !== 0) throw new Error(`prlimit: ${stderr}`);
}

module.exports = { exhaust, limitFiles, limitOfFiles };
