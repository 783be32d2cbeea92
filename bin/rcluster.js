#!/usr/bin/env node
'use strict';

// The command `rcluster` is an executable in the platform package. This script finds it and replaces itself
// with it. For `start`, the executable checks the options, and this process becomes the primary.

const path = require('node:path');
const process = require('node:process');
const { findExecutable } = require('../lib/cli/executable');

/** The exit code with which the executable reports that it has printed a launch plan as JSON. */
const PLAN = 100;
const SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGHUP']);

const args = process.argv.slice(2);
const file = executable();
const env = { ...process.env, RCLUSTER_SHIM: '1' };
// `doctor` runs Node itself.
if (args[0] === 'doctor') {
  env.RCLUSTER_NODE = process.execPath;
  env.RCLUSTER_PACKAGE = path.join(__dirname, '..');
}

if (args[0] === 'start') {
  const { spawn } = require('node:child_process');
  const child = spawn(file, args, { argv0: 'rcluster', env, stdio: ['inherit', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  child.on('error', (error) => {
    throw error;
  });
  const load = loadStart();
  child.on('close', (status, signal) => {
    if (status === PLAN) void load().start(JSON.parse(output));
    else end(output, status, signal);
  });
} else if (typeof process.execve === 'function') {
  process.execve(file, ['rcluster', ...args], env);
} else {
  const { spawn } = require('node:child_process');
  const child = spawn(file, args, { argv0: 'rcluster', env, stdio: 'inherit' });
  // The terminal sends these signals to both processes.
  for (const name of SIGNALS) process.on(name, () => child.kill(name));
  child.on('exit', (status, signal) => {
    for (const name of SIGNALS) process.removeAllListeners(name);
    end('', status, signal);
  });
}

/** The path of the executable. Without one, the installation is incomplete, and a stack would not help. */
function executable() {
  try {
    return findExecutable();
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    process.stderr.write(`rcluster: ${message}\n`);
    return process.exit(1);
  }
}

/**
 * Loads the primary while the executable runs. An error that occurs meanwhile is for later: wrong options come first.
 * @returns {() => typeof import('../lib/cli/start')}
 */
function loadStart() {
  try {
    const loaded = require('../lib/cli/start');
    return () => loaded;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/**
 * Ends with the exit code or the signal that ended the executable.
 * @param {string} text
 * @param {number | null} status
 * @param {NodeJS.Signals | null} signal
 */
function end(text, status, signal) {
  if (text !== '') {
    process.stdout.on('error', ({ message, code }) => {
      // A reader that has closed the pipe, as `head` does, has read enough.
      if (code === 'EPIPE') return;
      process.stderr.write(`rcluster: cannot print: ${message}\n`);
      process.exitCode = 1;
    });
    process.stdout.write(text);
  }
  if (signal !== null) process.kill(process.pid, signal);
  process.exitCode = status ?? 1;
}
