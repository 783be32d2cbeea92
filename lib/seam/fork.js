'use strict';

// Node's own child_process.fork(), with our process handle underneath.

const { Error, Object, process } = require('../globals');
const { fork } = require('node:child_process');
const diagnostics = require('node:diagnostics_channel');
const os = require('node:os');

const { improveChannel } = require('./channel');
const { guardChannel } = require('./guard');
const { NativeProcess, discard } = require('./process');
const { hideReport } = require('./preload');
const { PRELOAD, toRequest, toSpawnOptions } = require('./request');

const { EINVAL } = os.constants.errno;

/**
 * @typedef {import('./process').InnerChild} InnerChild
 * @typedef {import('./process').Started} Started
 * @typedef {import('./process').NativePrimary} NativePrimary
 * @typedef {import('./request').Request} Request
 */

/** The part of the arguments of child_process.fork() that workers need. */
/** @typedef {import('node:child_process').ForkOptions & { windowsHide?: boolean }} ForkOptions */

/**
 * child_process.fork() with another process handle. Node validates, makes the stdio streams and the IPC
 * channel and emits the events; only the handle is replaced. A ChildProcess is published on a diagnostics
 * channel when it is created, after it has a handle and before it uses it.
 * @param {(child: InnerChild) => object} makeHandle
 * @param {string} file
 * @param {readonly string[]} args
 * @param {ForkOptions} options
 * @returns {InnerChild}
 */
function forkWith(makeHandle, file, args, options) {
  /** @param {unknown} message */
  const exchange = (message) => {
    const { process: child } = /** @type {{ process: InnerChild }} */ (message);
    child._handle = makeHandle(child);
  };
  diagnostics.subscribe('child_process', exchange);
  try {
    return /** @type {InnerChild} */ (fork(file, args, options));
  } finally {
    diagnostics.unsubscribe('child_process', exchange);
  }
}

/**
 * child_process.fork() for worker `id`, started by the native part.
 * @param {number} id
 * @param {NativePrimary} native
 * @param {string} file
 * @param {readonly string[]} args
 * @param {ForkOptions} options Its env has NODE_UNIQUE_ID.
 * @param {Started} [started] The process, if the native part has started it already.
 * @returns {import('node:child_process').ChildProcess}
 */
function forkNative(id, native, file, args, options, started) {
  /** @type {InstanceType<typeof NativeProcess> | undefined} */
  let handle;
  const makeHandle = (/** @type {InnerChild} */ made) => {
    handle = new NativeProcess(id, made, native, nodeOptions(options), started);
    return handle;
  };
  let child;
  try {
    child = forkWith(makeHandle, file, args, options);
  } catch (error) {
    handle?.abandon();
    // Node's message contains only the error number.
    if (handle?.failure !== undefined && error instanceof Error) error.cause ??= new Error(handle.failure);
    throw error;
  }
  if (!(child._handle instanceof NativeProcess)) {
    child.kill('SIGKILL');
    const error = new Error(
      `rcluster does not support this version of Node (${process.version}): ` +
        "its child processes are not announced on the diagnostics channel 'child_process'",
    );
    throw Object.assign(error, { code: 'ERR_RCLUSTER_UNSUPPORTED_NODE' });
  }
  improveChannel(child);
  guardChannel(child, (error) => handle?.distrust(error));
  if (options.env?.WATCH_REPORT_DEPENDENCIES !== undefined) hideReport(child, PRELOAD);
  return child;
}

/**
 * The number of Node options at the start of the arguments; -1 for another program.
 * @param {ForkOptions} options
 */
function nodeOptions({ execPath, execArgv = [] }) {
  return execPath === undefined ? execArgv.length : -1;
}

/**
 * Describes what child_process.fork() would start, for the native part.
 * @param {string} file
 * @param {readonly string[]} args
 * @param {ForkOptions} options
 * @returns {Omit<import('../../binding').SpawnOptions, 'id'>}
 * @throws {Error} The error of fork() for invalid arguments.
 */
function describeFork(file, args, options) {
  /** @type {Request | undefined} */
  let request;
  const makeHandle = (/** @type {InnerChild} */ child) => {
    const original = child._handle;
    return {
      /** @param {...any} given */
      spawn(...given) {
        request = toRequest(given);
        discard(original, given);
        // For this error Node frees everything that it has created, and throws.
        return -EINVAL;
      },
      close() {},
    };
  };
  try {
    forkWith(makeHandle, file, args, options);
  } catch (error) {
    if (request === undefined) throw error;
  }
  return toSpawnOptions(/** @type {Request} */ (request), nodeOptions(options));
}

module.exports = { forkNative, describeFork };
