'use strict';

// What Node asks a process handle to start, and the same in the words of the native supervisor.

const path = require('node:path');

/** Each worker loads this before anything of the app. */
const PRELOAD = path.join(__dirname, '..', 'worker', 'preload.js');

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

/**
 * The same request in the words of the native supervisor.
 * @param {Request} request
 * @param {boolean} isNode Whether the program is Node, as far as anybody knows.
 * @returns {Omit<import('../../binding').SpawnOptions, 'id'>}
 */
function toSpawnOptions(request, isNode) {
  // Like Node's own handle, this one takes anything that has a text.
  const [program, ...args] = request.args.map(String);
  return {
    file: request.file,
    // Put in here, the preload is seen neither in settings.execArgv nor in child.spawnargs. Of all preloads only
    // those of NODE_OPTIONS come before it. Another program knows no preloads.
    args: isNode ? [program, '-r', PRELOAD, ...args] : [program, ...args],
    env: request.envPairs ?? [],
    cwd: request.cwd || undefined,
    stdio: request.stdio.map(toSpec),
    uid: request.uid ?? undefined,
    gid: request.gid ?? undefined,
    detached: request.detached,
    // Without our preload nothing in it watches the primary, or hears what it says.
    stranger: !isNode,
  };
}

module.exports = { toRequest, withChanges, toSpawnOptions };
