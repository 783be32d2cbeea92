'use strict';

// Copies of the package in folders of their own, where a test may do anything to the files.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { OURS } = require('../../testing/subject.js');

const ADDON = fs.readdirSync(OURS).find((name) => /^rcluster\..*\.node$/.test(name));
/** How long until a program that hangs is ended, in ms. */
const LIMIT = 60_000;

/**
 * @param {(folder: string) => unknown} body
 */
function inFolder(body) {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-start-')));
  try {
    return body(folder);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Puts a copy of the package where an app in `folder` finds it. */
function install(folder, name = 'rcluster') {
  const target = path.join(folder, 'node_modules', name);
  fs.mkdirSync(target, { recursive: true });
  for (const file of ['index.js', 'register.js', 'binding.js', 'lib', 'package.json', ADDON]) {
    fs.cpSync(path.join(OURS, file), path.join(target, file), { recursive: true });
  }
  return target;
}

/**
 * Runs a program, which prints its result as one line of JSON.
 * @param {string[]} args
 * @param {import('node:child_process').SpawnSyncOptions & { program?: string }} [options]
 */
function run(args, { program = process.execPath, env, ...options } = {}) {
  const clean = { ...process.env, ...env };
  delete clean.NODE_TEST_CONTEXT;
  if (env?.NODE_OPTIONS === undefined) delete clean.NODE_OPTIONS;
  const { status, signal, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    timeout: LIMIT,
    killSignal: 'SIGKILL',
    env: clean,
    ...options,
  });
  assert.deepStrictEqual([status, signal], [0, null], `${stdout}${stderr}`);
  return { found: JSON.parse(String(stdout)), stderr: String(stderr) };
}

module.exports = { LIMIT, inFolder, install, run };
