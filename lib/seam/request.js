'use strict';

// What Node requests of a process handle, and the same request in the form of the native part.

const { JSON, Object, String } = require('../globals');
const path = require('node:path');

const { packageFiles } = require('../load-binding');
const { workerOptions } = require('./options');

/** Each worker loads this before the app. */
const PRELOAD = path.join(__dirname, '..', 'worker', 'preload.js');

/** Whether this program is a single executable. It passes all its arguments to the app. */
const isSingleExecutable = isSea();

function isSea() {
  try {
    return require('node:sea').isSea();
  } catch (error) {
    // Node before 20.12 has no such module.
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ERR_UNKNOWN_BUILTIN_MODULE') return false;
    throw error;
  }
}

/**
 * One of the fds that Node has prepared for a child.
 * @typedef {{
 *   type: 'ignore' | 'pipe' | 'overlapped' | 'inherit' | 'fd' | 'wrap',
 *   handle?: any,
 *   fd?: number,
 * }} Stdio
 *
 * A request to start a process. `args` begins with the name of the program.
 * @typedef {{
 *   file: string,
 *   args: string[],
 *   cwd?: string | null,
 *   envPairs?: string[],
 *   stdio: Stdio[],
 *   detached?: boolean,
 *   uid?: number | null,
 *   gid?: number | null,
 * }} Request
 */

/**
 * The names of the arguments of spawn(), which takes them one by one since v24; before, they were one object.
 */
const POSITIONS = ['file', 'args', 'cwd', 'envPairs', 'stdio', 'flags', 'uid', 'gid'];
const FLAG_DETACHED = 1;

/**
 * @param {any[]} args The arguments of a handle's spawn().
 * @returns {Request}
 */
function toRequest(args) {
  if (args.length === 1) return args[0];
  const request = Object.fromEntries(POSITIONS.map((name, index) => [name, args[index]]));
  return /** @type {any} */ ({ ...request, detached: (request.flags & FLAG_DETACHED) !== 0 });
}

/**
 * The same arguments, in the same form, with some of them replaced.
 * @param {any[]} args
 * @param {Partial<Request>} changes
 * @returns {any[]}
 */
function withChanges(args, changes) {
  if (args.length === 1) return [{ ...args[0], ...changes }];
  return args.map((value, index) => /** @type {any} */ (changes)[POSITIONS[index]] ?? value);
}

/**
 * @param {Stdio} entry
 * @param {number} index the descriptor in the worker
 * @returns {import('../../binding').StdioSpec}
 */
function toSpec(entry, index) {
  switch (entry.type) {
    case 'ignore':
      return { kind: 'ignore' };
    case 'pipe':
    case 'overlapped':
      return { kind: 'pipe' };
    case 'wrap':
      return { kind: 'fd', fd: entry.handle.fd };
    default:
      // `stdio: 'inherit'` arrives as the numbers 0, 1 and 2.
      return { kind: entry.fd === index ? 'inherit' : 'fd', fd: entry.fd };
  }
}

const NODE_OPTIONS = 'NODE_OPTIONS=';

/**
 * Converts a request to the form of the native part.
 * @param {Request} request
 * @param {number} options How many of the arguments are Node's options; -1 if the program is not Node.
 * @returns {Omit<import('../../binding').SpawnOptions, 'id'>}
 */
function toSpawnOptions(request, options) {
  // Like Node's own handle, this accepts anything that can be converted to a string.
  const args = request.args.map(String);
  const env = request.envPairs ?? [];
  const isNode = options >= 0;
  return {
    file: request.file,
    // Another program has no preloads.
    ...(isNode ? withPreload(args, options, env) : { args, env }),
    cwd: request.cwd || undefined,
    stdio: request.stdio.map(toSpec),
    uid: request.uid ?? undefined,
    gid: request.gid ?? undefined,
    detached: request.detached,
    // Without our preload, no code in it watches the primary or reads its orders.
    external: !isNode,
  };
}

/**
 * Added here, so that the preload appears neither in settings.execArgv nor in child.spawnargs. It comes last:
 * the app's own preloads may be what makes this package loadable, and must find the same state as without us.
 * @param {string[]} args
 * @param {number} count The number of Node's options after the name of the program.
 * @param {string[]} env
 */
function withPreload([program, ...rest], count, env) {
  const given = env.findLast((pair) => pair.startsWith(NODE_OPTIONS))?.slice(NODE_OPTIONS.length);
  const { options, text, restore } = workerOptions(rest.slice(0, count), given, PRELOAD, isSingleExecutable);
  const { addon } = packageFiles();
  const changed = text === given ? env : env.filter((pair) => !pair.startsWith(NODE_OPTIONS));
  return {
    args: [program, ...options, ...rest.slice(count)],
    env: [
      ...changed,
      ...(text === given || text === undefined ? [] : [`${NODE_OPTIONS}${text}`]),
      ...(restore === undefined ? [] : [`RCLUSTER_RESTORE=${JSON.stringify(restore)}`]),
      ...(addon === '' ? [] : [`RCLUSTER_ADDON=${addon}`]),
    ],
    preload: PRELOAD,
  };
}

module.exports = { PRELOAD, toRequest, withChanges, toSpawnOptions };
