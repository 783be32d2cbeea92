'use strict';

// A process handle of ours in the place of the one that Node makes for a ChildProcess.

const { AsyncResource } = require('node:async_hooks');
const fs = require('node:fs');
const os = require('node:os');
const { Error, Map, Object, Reflect, String, process, setImmediate, setTimeout } = require('../globals');

const { loadBinding } = require('../load-binding');
const { beginning } = require('../text');
const { toRequest, toSpawnOptions, withChanges } = require('./request');

const { EACCES, EAGAIN, EINVAL, EMFILE, ENFILE, ENOENT, ESRCH } = os.constants.errno;

/**
 * How many turns of the event loop the news of a death wait for the end of the channel. The kernel closed the worker's
 * end before it reported the death, so that what the worker sent last and the end of it are there to be read: a turn
 * or two do. A channel that is still open then is held by somebody else, say a child of the worker that inherited it,
 * and would keep the news back for as long as that process lives.
 */
const TURNS = 16;

/** How long, in ms, a worker that has lost its channel has to end by itself. The same holds for the native link. */
const GRACE = 2000;

/** The most bytes of a reason that are told: part of it is what the worker wrote. */
const LONGEST_REASON = 200;

/**
 * The names of the signals by number; of two names for one number Node reports the first.
 * @type {Map<number, string>}
 */
const signalNames = new Map(
  Object.entries(os.constants.signals)
    .toReversed()
    .map(([name, number]) => [number, name]),
);

/**
 * @typedef {import('./request').Request} Request
 * @typedef {import('./request').Stdio} Stdio
 * @typedef {InstanceType<typeof import('../primary/supervision').Supervision>} Supervision
 *
 * The part of a ChildProcess that is not in its types.
 * @typedef {import('node:child_process').ChildProcess & { _handle: any }} InnerChild
 */

/**
 * Frees a process handle that is not going to be used. Closing alone does nothing to one that was never started, so it is
 * given a start that fails before anything is forked. What that does to the event loop's list of handles has to be
 * mended, see `crates/js/src/uv/closing.rs`.
 * @param {any} handle
 * @param {any[]} args Those of its spawn().
 */
function discard(handle, args) {
  // It lives for another turn of the event loop; the child that its properties refer to must not because of it.
  for (const key of Reflect.ownKeys(handle)) handle[key] = undefined;
  // With another libuv a leak of 1 KB for each worker is better than what might happen.
  if (!process.versions.uv.startsWith('1.')) return;
  // An invalid fd. The rest is left out, since it would be copied.
  handle.spawn(...withChanges(args, { args: [], envPairs: [], stdio: [{ type: 'fd', fd: -1 }] }));
  handle.close();
  loadBinding().mendClosedProcess();
}

/**
 * Opens the pipes of a child that could not be started, with nobody at their other end. Node expects that of a failed
 * start: the end of file on them is what makes 'disconnect' and 'close' follow the 'error'. Node's own handle does it
 * by failing for certain, since no system executes a directory.
 * @param {any} handle
 * @param {any[]} args
 * @returns {number} A negative errno.
 */
function openDeadPipes(handle, args) {
  const errno = handle.spawn(...withChanges(args, { file: '/' }));
  handle.close();
  return errno;
}

function isForbidden() {
  const { permission } = /** @type {{ permission?: { has(scope: string): boolean } }} */ (process);
  return permission !== undefined && !permission.has('child');
}

/**
 * A worker that the native supervisor has started by itself.
 * @typedef {{ pid: number, fds: number[] }} Started
 */

/**
 * Stands in for the process handle of a ChildProcess, which calls these methods and reads `pid`. The process is
 * spawned, reaped and killed by the native supervisor; everything else about the child remains Node's.
 */
class NativeProcess {
  /** @type {number | undefined} */
  pid = undefined;

  /** @type {number} */
  #id;
  /** @type {InnerChild} */
  #child;
  /** @type {Supervision} */
  #supervision;
  /** @type {number} */
  #nodeOptions;
  /** @type {Started | undefined} */
  #started;
  /** The handle that Node made. */
  #original;
  /**
   * What Node does at the end of a process: it emits 'exit', or 'error' for a negative code.
   * @type {(code: number, signal: string) => void}
   */
  #conclude;

  /** Makes 'exit' run in the async context of the fork, as a handle of Node's would. */
  #context = new AsyncResource('PROCESSWRAP');

  /** Whether there is a process whose 'exit' has not been emitted. */
  #active = false;
  #ref = true;

  /** Whether the handle that Node made has been freed. */
  #isFreed = false;
  /** @type {any[]} The handles of its pipes. */
  #pipes = [];

  /**
   * What could not be done, if the process could not be started.
   * @type {string | undefined}
   */
  failure = undefined;

  /**
   * @param {number} id
   * @param {InnerChild} child
   * @param {Supervision} supervision
   * @param {number} nodeOptions How many of the arguments are Node's options; -1 if the program is not Node.
   * @param {Started} [started] Where there is nothing to be started any more.
   */
  constructor(id, child, supervision, nodeOptions, started) {
    this.#id = id;
    this.#nodeOptions = nodeOptions;
    this.#started = started;
    this.#child = child;
    this.#supervision = supervision;
    this.#original = child._handle;
    this.#conclude = this.#original.onexit;
  }

  /**
   * @param {...any} args
   * @returns {number} 0 or a negative errno. Node throws the errors it does not expect and closes the pipes itself.
   */
  spawn(...args) {
    const original = this.#original;
    const request = toRequest(args);

    // Somebody else on the diagnostics channel may start a process of their own in the middle of our fork.
    if (!request.envPairs?.includes(`NODE_UNIQUE_ID=${this.#id}`)) {
      this.#child._handle = original;
      return original.spawn(...args);
    }

    // Where Node's permission model forbids to start processes, its own handle knows best what to throw.
    if (isForbidden()) return original.spawn(...args);

    const errno = this.#start(request, args);
    if (this.#isFreed) return errno;
    if (errno !== -EACCES && errno !== -EAGAIN && errno !== -ENOENT) {
      discard(original, args);
      return errno;
    }
    const reason = openDeadPipes(original, args);
    // Without fds for the pipes there are none, and Node has to be told so.
    return reason === -EMFILE || reason === -ENFILE ? reason : errno;
  }

  /**
   * @param {Request} request
   * @param {any[]} args The same as a handle's spawn() takes it.
   * @returns {number}
   */
  #start(request, args) {
    const onExit = (/** @type {number} */ code, /** @type {number} */ signal) => this.#onDeath(code, signal);
    const started = this.#started;
    if (started !== undefined) {
      this.#supervision.adopt(this.#id, onExit);
      return this.#run(started, request, args);
    }
    const options = { id: this.#id, ...toSpawnOptions(request, this.#nodeOptions) };
    if (options.stdio.some(({ kind, fd = -1 }) => kind === 'fd' && fd < 0)) return -EINVAL;
    const spawned = this.#supervision.spawn(options, onExit);
    if (spawned.errno === 0) return this.#run(spawned, request, args);
    this.failure = spawned.failure;
    return spawned.errno;
  }

  /**
   * @param {Started} started
   * @param {Request} request
   * @param {any[]} args
   */
  #run({ pid, fds }, { stdio }, args) {
    this.pid = pid;
    this.#active = true;
    if (this.#ref) this.#supervision.hold();
    const pipes = fds.flatMap((fd, index) => (fd < 0 ? [] : [{ fd, handle: stdio[index].handle }]));
    this.#pipes = pipes.map(({ handle }) => handle);
    let failure = 0;
    try {
      failure = this.#openPipes(pipes, args);
    } finally {
      // Whatever was not handed over is closed, and a process that nobody can speak to is none to keep.
      for (const { fd } of pipes) if (fd >= 0) fs.closeSync(fd);
      if (pipes.some(({ fd }) => fd >= 0)) this.abandon();
    }
    return failure;
  }

  /**
   * Each pipe handle becomes the owner of its fd, which is -1 from then on.
   * @param {{ fd: number, handle: any }[]} pipes
   * @param {any[]} args
   * @returns {number} 0 or a negative errno.
   */
  #openPipes(pipes, args) {
    for (const pipe of pipes) {
      try {
        const errno = pipe.handle.open(pipe.fd);
        if (errno) return errno;
      } catch (error) {
        if (/** @type {any} */ (error)?.code !== 'ERR_ACCESS_DENIED') throw error;
        return this.#replacePipes(pipes, args);
      }
      pipe.fd = -1;
    }
    return 0;
  }

  /**
   * The same where Node's permission model forbids to open fds (without --allow-net): pipes that Node opens by itself,
   * for a process that does not start, get our fds in the place of theirs.
   * @param {{ fd: number, handle: any }[]} pipes
   * @param {any[]} args
   * @returns {number} 0 or a negative errno.
   */
  #replacePipes(pipes, args) {
    const errno = openDeadPipes(this.#original, args);
    this.#isFreed = true;
    for (const pipe of pipes) {
      if (pipe.handle.fd < 0) return errno;
      loadBinding().replaceDescriptor(pipe.handle.fd, pipe.fd);
      pipe.fd = -1;
    }
    return 0;
  }

  /** Ends a process that has been started for a fork that has failed since. */
  abandon() {
    if (!this.#active) return;
    this.kill(os.constants.signals.SIGKILL);
    for (const pipe of this.#pipes) pipe.close();
    this.close();
  }

  /**
   * The news comes from another thread and may overtake what the worker sent last. The built-in's listeners have
   * always seen all messages and 'disconnect' before 'exit', so the channel goes first.
   * @param {number} code
   * @param {number} signal
   */
  #onDeath(code, signal) {
    let turns = TURNS;
    const deliver = () => {
      // Node closes the handle of a child that it gave up. No app hears of that one.
      if (!this.#active) return this.#supervision.onExitReported(this.#id);
      if (this.#child.channel && turns-- > 0) {
        setImmediate(deliver);
        return;
      }
      this.#context.runInAsyncScope(() => this.onexit(code, signalNames.get(signal) ?? ''));
    };
    setImmediate(deliver);
  }

  /**
   * Called by Node itself for a process that could not be started.
   * @param {number} code
   * @param {string} signal
   */
  onexit(code, signal) {
    this.#conclude(code, signal);
  }

  /**
   * The worker has written to Node's IPC channel what cannot be read. Without the channel it ends by itself, or is ended.
   * @param {unknown} error
   */
  distrust(error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.emitWarning(
      `Worker ${this.#id} has broken the rules of Node's IPC channel and loses it: ${beginning(reason, LONGEST_REASON)}`,
      { code: 'RCLUSTER_PROTOCOL' },
    );
    if (this.#child.connected) this.#child.disconnect();
    setTimeout(() => this.kill(os.constants.signals.SIGKILL), GRACE).unref();
  }

  /**
   * @param {number} signal
   * @returns {number} 0 or a negative errno.
   */
  kill(signal) {
    return this.#active ? this.#supervision.kill(this.#id, signal) : -ESRCH;
  }

  ref() {
    if (this.#ref) return;
    this.#ref = true;
    if (this.#active) this.#supervision.hold();
  }

  unref() {
    if (!this.#ref) return;
    this.#ref = false;
    if (this.#active) this.#supervision.release();
  }

  hasRef() {
    return this.#active && this.#ref;
  }

  close() {
    if (this.hasRef()) this.#supervision.release();
    this.#active = false;
  }
}

module.exports = { NativeProcess, discard };
