'use strict';

// The reports of this process to the operator: a profile, its heap, the address of its inspector, the names
// of its environment variables. The request arrives over the native part, and the answer goes through a
// socket of its own. crates/core/src/examine.rs describes the format.

const net = require('node:net');
const {
  Buffer,
  Error,
  JSON,
  Object,
  Promise,
  process,
  realProcess,
  setTimeout,
  clearTimeout,
} = require('./globals');

const MAX_PAYLOAD = 64 * 1024;

const BEGUN = 0x42;
const DATA = 0x44;
const END = 0x45;
const FAILED = 0x46;

/** The address of the inspector: only processes of this machine can reach it. */
const HOST = '127.0.0.1';

/**
 * @typedef {{ what: 'heap' | 'inspect' | 'closeInspector' | 'env' } | { what: 'profile', durationMs: number }} Request
 */

/** Thrown when the other end has closed the socket. */
class Unwanted extends Error {}

/** The socket for an answer. It does not keep the event loop alive. */
class Answer {
  #socket;

  /** Called when more can be written, or nothing any more. @type {() => void} */
  #wake = () => {};

  /** @param {number} fd closed at the end */
  constructor(fd) {
    this.#socket = new net.Socket({ fd });
    this.#socket.unref();
    // The other end may close at any time. The error itself is ignored, because `isClosed` is checked.
    this.#socket.on('error', () => {});
    this.#socket.on('drain', () => this.#wake());
    this.#socket.on('close', () => this.#wake());
    this.#socket.resume();
  }

  get isClosed() {
    return this.#socket.destroyed || this.#socket.readableEnded;
  }

  /** @param {() => void} listener called when the other end has closed the socket */
  onClose(listener) {
    this.#socket.once('end', listener);
    this.#socket.once('close', listener);
  }

  begin() {
    this.#write(BEGUN, Buffer.alloc(0));
  }

  /** @param {string | Buffer} data */
  async data(data) {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    for (let at = 0; at < bytes.length; at += MAX_PAYLOAD) {
      if (this.isClosed) throw new Unwanted();
      if (!this.#write(DATA, bytes.subarray(at, at + MAX_PAYLOAD))) await this.#drained();
    }
  }

  /** @returns {Promise<void>} */
  #drained() {
    return new Promise((/** @type {(value: void) => void} */ resolve) => {
      this.#wake = resolve;
    });
  }

  end() {
    this.#write(END, Buffer.alloc(0));
    this.#socket.end();
  }

  /** @param {string} reason */
  fail(reason) {
    this.#write(FAILED, Buffer.from(reason).subarray(0, MAX_PAYLOAD));
    this.#socket.end();
  }

  /**
   * @param {number} tag
   * @param {Buffer} payload
   */
  #write(tag, payload) {
    const head = Buffer.alloc(5);
    head[0] = tag;
    head.writeUInt32BE(payload.length, 1);
    return this.#socket.write(Buffer.concat([head, payload]));
  }
}

/**
 * Answers a request.
 *
 * @param {Request} request
 * @param {number} fd the socket for the answer
 */
async function examine(request, fd) {
  // No descriptor was left for the socket. The requester notices that it is closed.
  if (fd < 0) return;
  const answer = new Answer(fd);
  try {
    answer.begin();
    switch (request.what) {
      case 'profile':
        await profile(request.durationMs, answer);
        break;
      case 'heap':
        await heap(answer);
        break;
      case 'inspect':
        await answer.data(openInspector());
        break;
      case 'closeInspector':
        inspector().close();
        break;
      case 'env':
        await answer.data(JSON.stringify(Object.keys(realProcess.env)));
        break;
      default:
        throw new Error('it does not know how to tell that: its rcluster is older than the one that asks');
    }
    answer.end();
  } catch (error) {
    if (!(error instanceof Unwanted)) answer.fail(/** @type {Error} */ (error).message);
  }
}

/** @returns {typeof import('node:inspector')} */
function inspector() {
  try {
    return require('node:inspector');
  } catch {
    throw new Error(`its Node ${process.versions.node} was built without an inspector`);
  }
}

let isProfiling = false;

/**
 * @param {number} duration in ms
 * @param {Answer} answer
 */
async function profile(duration, answer) {
  if (isProfiling) throw new Error('a profile is being taken of it already');
  isProfiling = true;
  const session = new (inspector().Session)();
  try {
    session.connect();
    await post(session, 'Profiler.enable');
    await post(session, 'Profiler.start');
    await passed(duration, answer);
    const { profile: taken } = await post(session, 'Profiler.stop');
    await answer.data(JSON.stringify(taken));
  } finally {
    session.disconnect();
    isProfiling = false;
  }
}

/**
 * @param {import('node:inspector').Session} session
 * @param {string} method
 * @returns {Promise<any>}
 */
function post(session, method) {
  return new Promise((resolve, reject) => {
    session.post(method, undefined, (/** @type {Error | null} */ error, /** @type {any} */ result) =>
      error === null ? resolve(result) : reject(error),
    );
  });
}

/**
 * Waits, but not longer than the other end keeps the socket open.
 *
 * @param {number} duration in ms
 * @param {Answer} answer
 * @returns {Promise<void>}
 */
function passed(duration, answer) {
  return new Promise((/** @type {(value: void) => void} */ resolve) => {
    if (answer.isClosed) return resolve();
    const timer = setTimeout(resolve, duration).unref();
    answer.onClose(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/**
 * V8 takes the snapshot at once, and serializes it as it is read.
 *
 * @param {Answer} answer
 */
async function heap(answer) {
  for await (const piece of require('node:v8').getHeapSnapshot()) await answer.data(piece);
}

let isOpening = false;

/**
 * Whether the inspector is being opened for an operator, who has asked for that of this process alone.
 */
function opensInspector() {
  return isOpening;
}

/** @returns {string} the address of the inspector, which may already have been open */
function openInspector() {
  const { open, url } = inspector();
  const known = url();
  if (known !== undefined) return known;
  // Whatever opens an inspector, Node reports it before open() returns, and a primary then opens its workers'.
  isOpening = true;
  try {
    open(0, HOST);
  } finally {
    isOpening = false;
  }
  const opened = url();
  if (opened === undefined) throw new Error(`its inspector cannot listen at ${HOST}`);
  return opened;
}

module.exports = { examine, opensInspector };
