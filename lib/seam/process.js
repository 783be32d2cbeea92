'use strict';

// Our process handle, which replaces the one that Node creates for a ChildProcess.

const { AsyncResource } = require('node:async_hooks');
const fs = require('node:fs');
const os = require('node:os');
const { Error, Reflect, String, process, setImmediate, setTimeout } = require('../globals');

const { later } = require('../later');
const { loadBinding } = require('../load-binding');
const { signalNames } = require('../signal-names');
const { toRequest, toSpawnOptions, withChanges } = require('./request');

/** @type {() => typeof import('../text')} */
const text = later('text');

const { EACCES, EAGAIN, EINVAL, EMFILE, ENFILE, ENOENT, ESRCH } = os.constants.errno;

/**
 * How many turns of the event loop the report of a worker's exit waits for the end of the channel. The kernel
 * closed the worker's end before it reported the exit, so the last messages and the end of the channel can
 * already be read: a turn or two suffice. A channel that is still open after that is held by another process,
 * for example a child of the worker that inherited it, and would delay the report for as long as that process
 * lives.
 */
const TURNS = 16;

/**
 * How long, in ms, a worker that has lost its channel may take to end by itself. The native link uses the
 * same limit.
 */
const GRACE = 2000;

/** The longest reason in a warning, in bytes: part of it is what the worker wrote. */
const LONGEST_REASON = 200;

/**
 * @typedef {import('./request').Request} Request
 * @typedef {import('./request').Stdio} Stdio
 * @typedef {InstanceType<typeof import('../primary/native').NativePrimary>} NativePrimary
 *
 * A ChildProcess with the field that is not in its types.
 * @typedef {import('node:child_process').ChildProcess & { _handle: any }} InnerChild
 */

/**
 * Frees a process handle that will not be used. Closing alone has no effect on a handle that was never
 * started, so it first gets a start that fails before anything is forked. That damages the event loop's list of
 * handles, which must be repaired: see `crates/js/src/uv/closing.rs`.
 * @param {any} handle
 * @param {any[]} args The arguments of its spawn().
 */
function discard(handle, args) {
  // The handle lives for another turn of the event loop, and must not keep the child alive that its
  // properties refer to.
  for (const key of Reflect.ownKeys(handle)) handle[key] = undefined;
  // With another major version of libuv, leaking 1 KB for each worker is safer.
  if (!process.versions.uv.startsWith('1.')) return;
  // An invalid fd makes it fail. The other arguments are left out, because they would be copied.
  handle.spawn(...withChanges(args, { args: [], envPairs: [], stdio: [{ type: 'fd', fd: -1 }] }));
  handle.close();
  loadBinding().mendClosedProcess();
}

/**
 * Opens the pipes of a child that could not be started, with no process at their other end. Node expects that
 * after a failed start: the end of file on them makes 'disconnect' and 'close' follow the 'error'. Node's own
 * handle opens them in a start that is certain to fail, because a directory cannot be executed.
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
 * A worker that the native part has started by itself.
 * @typedef {{ pid: number, fds: number[] }} Started
 */

/**
 * Replaces the process handle of a ChildProcess, which calls these methods and reads `pid`. The native
 * supervisor spawns, reaps and kills the process; everything else about the child remains Node's.
 */
class NativeProcess {
  /** @type {number | undefined} */
  pid = undefined;

  /** @type {number} */
  #id;
  /** @type {InnerChild} */
  #child;
  /** @type {NativePrimary} */
  #native;
  /** @type {number} */
  #nodeOptions;
  /** @type {Started | undefined} */
  #started;
  /** The handle that Node made. */
  #original;
  /**
   * Node's handler for the end of a process: it emits 'exit', or 'error' for a negative code.
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
   * The operation that failed, if the process could not be started.
   * @type {string | undefined}
   */
  failure = undefined;

  /**
   * @param {number} id
   * @param {InnerChild} child
   * @param {NativePrimary} native
   * @param {number} nodeOptions How many of the arguments are Node's options; -1 if the program is not Node.
   * @param {Started} [started] The process, if it has been started already.
   */
  constructor(id, child, native, nodeOptions, started) {
    this.#id = id;
    this.#nodeOptions = nodeOptions;
    this.#started = started;
    this.#child = child;
    this.#native = native;
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

    // Another subscriber of the diagnostics channel may start a process of its own during our fork.
    if (!request.envPairs?.includes(`NODE_UNIQUE_ID=${this.#id}`)) {
      this.#child._handle = original;
      return original.spawn(...args);
    }

    // If Node's permission model forbids child processes, its own handle throws the right error.
    if (isForbidden()) return original.spawn(...args);

    const errno = this.#start(request, args);
    if (this.#isFreed) return errno;
    if (errno !== -EACCES && errno !== -EAGAIN && errno !== -ENOENT) {
      discard(original, args);
      return errno;
    }
    const reason = openDeadPipes(original, args);
    // Without free descriptors no pipes were opened, which Node must know.
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
      this.#native.adopt(this.#id, onExit);
      return this.#run(started, request, args);
    }
    const options = { id: this.#id, ...toSpawnOptions(request, this.#nodeOptions) };
    if (options.stdio.some(({ kind, fd = -1 }) => (kind === 'fd' || kind === 'inherit') && fd < 0)) {
      return -EINVAL;
    }
    const spawned = this.#native.spawn(options, onExit);
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
    if (this.#ref) this.#native.hold();
    const pipes = fds.flatMap((fd, index) => (fd < 0 ? [] : [{ fd, handle: stdio[index].handle }]));
    this.#pipes = pipes.map(({ handle }) => handle);
    let failure = 0;
    try {
      failure = this.#openPipes(pipes, args);
    } finally {
      // Descriptors without an owner are closed, and a process without its pipes is ended.
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
   * The same if Node's permission model forbids opening descriptors (without --allow-net): Node opens pipes
   * itself, for a process that does not start, and their descriptors are replaced by ours.
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

  /** Kills a process whose fork has failed after it was started. */
  abandon() {
    if (!this.#active) return;
    this.kill(os.constants.signals.SIGKILL);
    for (const pipe of this.#pipes) pipe.close();
    this.close();
  }

  /**
   * The exit is reported by another thread and may overtake the worker's last messages. As with the built-in,
   * listeners see all messages and 'disconnect' before 'exit', so the channel is read to its end first.
   * @param {number} code
   * @param {number} signal
   */
  #onDeath(code, signal) {
    let turns = TURNS;
    const deliver = () => {
      // Node has closed the handle of a child whose fork failed. The app does not know of that one.
      if (!this.#active) return this.#native.onExitReported(this.#id);
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
   * The worker has written something unreadable to Node's IPC channel. Without the channel it ends by itself,
   * or is killed.
   * @param {unknown} error
   */
  distrust(error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.emitWarning(
      `Worker ${this.#id} has broken the rules of Node's IPC channel and loses it: ${text().beginning(reason, LONGEST_REASON)}`,
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
    return this.#active ? this.#native.kill(this.#id, signal) : -ESRCH;
  }

  ref() {
    if (this.#ref) return;
    this.#ref = true;
    if (this.#active) this.#native.hold();
  }

  unref() {
    if (!this.#ref) return;
    this.#ref = false;
    if (this.#active) this.#native.release();
  }

  hasRef() {
    return this.#active && this.#ref;
  }

  close() {
    if (this.hasRef()) this.#native.release();
    this.#active = false;
  }
}

module.exports = { NativeProcess, discard };
