'use strict';

// What Node asks a process handle to start, and the same in the words of the native supervisor.

const { JSON, Object, String } = require('../globals');
const { isBuiltin } = require('node:module');
const path = require('node:path');

const { workerOptions } = require('./options');

/** Each worker loads this before the app. */
const PRELOAD = path.join(__dirname, '..', 'worker', 'preload.js');

/** Whether this program is Node with an app in it. Such a one takes all its arguments to be the app's. */
const isSingleExecutable = isBuiltin('node:sea') && require('node:sea').isSea();

/**
 * One of the fds that Node has prepared for a child.
 * @typedef {{
 *   type: 'ignore' | 'pipe' | 'overlapped' | 'inherit' | 'fd' | 'wrap',
 *   handle?: any,
 *   fd?: number,
 * }} Stdio
 *
 * What a process handle is asked to start. `args` begins with the name of the program.
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

/** The names of the arguments of spawn() where it takes them one by one (v24 on); before, they are one object. */
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
 * @returns {import('../../binding').StdioSpec}
 */
function toSpec(entry) {
  switch (entry.type) {
    case 'ignore':
      return { kind: 'ignore' };
    case 'pipe':
    case 'overlapped':
      return { kind: 'pipe' };
    case 'wrap':
      return { kind: 'fd', fd: entry.handle.fd };
    default:
      return { kind: 'fd', fd: entry.fd };
  }
}

const NODE_OPTIONS = 'NODE_OPTIONS=';

/**
 * The same request in the words of the native supervisor.
 * @param {Request} request
 * @param {number} options How many of the arguments are Node's options; -1 if the program is not Node.
 * @returns {Omit<import('../../binding').SpawnOptions, 'id'>}
 */
function toSpawnOptions(request, options) {
  // Like Node's own handle, this one takes anything that has a text.
  const args = request.args.map(String);
  const env = request.envPairs ?? [];
  const isNode = options >= 0;
  return {
    file: request.file,
    // Another program knows no preloads.
    ...(isNode ? withPreload(args, options, env) : { args, env }),
    cwd: request.cwd || undefined,
    stdio: request.stdio.map(toSpec),
    uid: request.uid ?? undefined,
    gid: request.gid ?? undefined,
    detached: request.detached,
    // Without our preload nothing in it watches the primary, or hears what it says.
    external: !isNode,
  };
}

/**
 * Put in here, the preload is seen neither in settings.execArgv nor in child.spawnargs. It comes last: what the app has
 * Node load first may be what makes this package loadable, and is to find everything as it would without us.
 * @param {string[]} args
 * @param {number} count How many of them are Node's options, behind the name of the program.
 * @param {string[]} env
 */
function withPreload([program, ...rest], count, env) {
  const given = env.findLast((pair) => pair.startsWith(NODE_OPTIONS))?.slice(NODE_OPTIONS.length);
  const { options, text, restore } = workerOptions(rest.slice(0, count), given, PRELOAD, isSingleExecutable);
  const changed = text === given ? env : env.filter((pair) => !pair.startsWith(NODE_OPTIONS));
  return {
    args: [program, ...options, ...rest.slice(count)],
    env: [
      ...changed,
      ...(text === given || text === undefined ? [] : [`${NODE_OPTIONS}${text}`]),
      ...(restore === undefined ? [] : [`RCLUSTER_RESTORE=${JSON.stringify(restore)}`]),
    ],
    preload: PRELOAD,
  };
}

module.exports = { PRELOAD, toRequest, withChanges, toSpawnOptions };
