'use strict';

// The command `rcluster` where Node runs it. It finds the executable, and replaces itself with it. For `start`, the executable
// checks the options, and this process becomes the primary. If the executable came first, it has executed Node for that.

const fs = require('node:fs');
const path = require('node:path');
const { JSON, Number, realProcess: process } = require('../globals');
const { findExecutable } = require('./executable');

/** The exit code with which the executable reports that it has printed a launch plan as JSON. */
const PLAN = 100;
const SIGNALS = /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGHUP']);

const args = process.argv.slice(2);
const { RCLUSTER_PLAN: planned } = process.env;
if (planned === undefined) becomeExecutable();
else becomePrimary(Number(planned));

/**
 * The executable has started Node, and has left the plan open.
 * @param {number} plan a descriptor
 */
function becomePrimary(plan) {
  delete process.env.RCLUSTER_PLAN;
  const text = fs.readFileSync(plan, 'utf8');
  fs.closeSync(plan);
  void require('./start').start(JSON.parse(text));
}

function becomeExecutable() {
  const file = executable();
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...process.env, RCLUSTER_SHIM: '1' };
  // `doctor` runs Node itself.
  if (args[0] === 'doctor') {
    env.RCLUSTER_NODE = process.execPath;
    env.RCLUSTER_PACKAGE = path.join(__dirname, '..', '..');
  }

  if (args[0] === 'start') {
    const child = require('node:child_process').spawn(file, args, {
      argv0: 'rcluster',
      env,
      stdio: ['inherit', 'pipe', 'inherit'],
    });
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
    const child = require('node:child_process').spawn(file, args, {
      argv0: 'rcluster',
      env,
      stdio: 'inherit',
    });
    // The terminal sends these signals to both processes.
    for (const name of SIGNALS) process.on(name, () => child.kill(name));
    child.on('exit', (status, signal) => {
      for (const name of SIGNALS) process.removeAllListeners(name);
      end('', status, signal);
    });
  }
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
 * @returns {() => typeof import('./start')}
 */
function loadStart() {
  try {
    const loaded = require('./start');
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
    process.stdout.on('error', (/** @type {NodeJS.ErrnoException} */ { message, code }) => {
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
