'use strict';

// The worker's half of what rcluster knows of Node's private seams. Everything here was tried on
// every version that docs/compatibility.md names.

const {
  Buffer,
  Error,
  Map,
  Math,
  Number,
  Object,
  Reflect,
  Symbol,
  process,
  realProcess,
} = require('../globals');
const net = require('node:net');
const { keepListening } = require('./signals');

const NODE_MAJOR = Number(process.versions.node.split('.')[0]);

/** What the constructors of TCP and Pipe take for a connection and for a listening socket. */
const SOCKET = 0;
const SERVER = 1;

/** The length in bytes of a unix address, which Node before 22 fills up to name an abstract socket. */
const UNIX_ADDRESS = 108;

/**
 * Our own messages are numbered apart from those that Node's code numbers in the same process: an
 * answer to one must not be taken for an answer to the other.
 */
let sequence = 2 ** 30;

/** @type {Map<number, (answer: any) => void>} what waits for an answer of the primary */
const unanswered = new Map();

/**
 * Puts our functions in the place of the built-in's, on the one object that `require('cluster')`,
 * `import` and net and dgram all hold.
 *
 * @param {any} cluster
 * @param {{ getServer: Function, disconnect: () => void, disconnectedByPrimary: () => void }} ours
 */
function replaceWorkerSide(cluster, { getServer, disconnect, disconnectedByPrimary }) {
  cluster._getServer = getServer;

  cluster.Worker.prototype.disconnect = function () {
    if (this.state !== 'disconnecting' && this.state !== 'destroying') {
      this.state = 'disconnecting';
      disconnect();
    }
    return this;
  };

  // Node's own listener knows nothing of our servers, so the order to disconnect must not reach
  // it. All else does: it holds what waits for answers to `worker.destroy()`.
  const builtin = /** @type {Function} */ (
    process.listeners(/** @type {any} */ ('internalMessage')).find(({ name }) => name === 'onInternalMessage')
  );
  if (builtin) process.removeListener('internalMessage', /** @type {any} */ (builtin));
  keepListening(
    'internalMessage',
    /** @type {any} */ (
      function onInternalMessage(/** @type {any} */ message, /** @type {any} */ handle) {
        if (message.cmd === 'NODE_CLUSTER' && message.act === 'disconnect') return disconnectedByPrimary();
        const answered = message.cmd === 'NODE_CLUSTER' ? unanswered.get(message.ack) : undefined;
        if (answered === undefined) return builtin && Reflect.apply(builtin, realProcess, [message, handle]);
        unanswered.delete(message.ack);
        answered(message);
      }
    ),
  );
}

/**
 * The name to bind for a unix path. An abstract name (one that begins with NUL, behind the working
 * directory that `path.resolve` has put before it) is filled up with NULs by Node before 22: who
 * connects to it would not find the bare name.
 *
 * @param {string} address
 */
function unixAddress(address) {
  const start = address.indexOf('\0');
  if (NODE_MAJOR >= 22 || start === -1) return address;
  const length = Buffer.byteLength(address.slice(start));
  return address + '\0'.repeat(Math.max(0, UNIX_ADDRESS - length));
}

/**
 * Numbers a question to the primary, whichever way it goes there.
 *
 * @param {(answer: any) => void} onAnswer
 */
function expectAnswer(onAnswer) {
  const seq = sequence++;
  unanswered.set(seq, onAnswer);
  return seq;
}

/**
 * Hands an answer that came by our own link to whoever waits for it, as the 'internalMessage' that
 * it is with the built-in: an application may count or watch those.
 *
 * @param {number} seq
 * @param {object} answer
 */
function deliverAnswer(seq, answer) {
  process.emit(
    /** @type {any} */ ('internalMessage'),
    { cmd: 'NODE_CLUSTER', ...answer, ack: seq },
    undefined,
  );
  // An application may have removed our listener, or emit() may be another one now.
  const answered = unanswered.get(seq);
  unanswered.delete(seq);
  answered?.(answer);
}

/**
 * Tells the primary's JavaScript something in the built-in's own words, over Node's own channel:
 * so it keeps its place among the messages that the application sends.
 *
 * @param {object} message
 * @param {() => void} [onAnswer]
 */
function notifyPrimary(message, onAnswer) {
  if (!process.connected) return;
  const seq = onAnswer ? expectAnswer(onAnswer) : sequence++;
  /** @type {any} */ (process).send({ cmd: 'NODE_CLUSTER', ...message, seq });
}

/** @type {symbol | undefined} under which Node's handles hold their owner, once one had it */
let ownerSymbol;

/**
 * The net.Server or dgram.Socket that a handle belongs to.
 *
 * @param {any} handle
 */
function ownerOf(handle) {
  ownerSymbol ??= Object.getOwnPropertySymbols(handle).find(
    ({ description }) => description === 'owner_symbol',
  );
  return ownerSymbol === undefined ? undefined : handle[ownerSymbol];
}

/**
 * Whether a server takes no more connections, as this version of Node sees it.
 *
 * @param {any} server
 */
function isFull(server) {
  const limit = server?.maxConnections;
  if (limit == null || (NODE_MAJOR < 22 && limit === 0)) return false;
  return server._connections >= limit && !(NODE_MAJOR >= 22 && server.dropMaxConnection);
}

/** @type {Map<string, new (type?: number) => any>} the classes of Node's handles, once they were needed */
const classes = new Map();

/**
 * @param {'tcp' | 'pipe'} kind
 * @param {(kind: 'tcp' | 'pipe') => number} blankSocket makes a socket that nobody uses
 */
function learnHandleClass(kind, blankSocket) {
  if (classes.has(kind)) return;
  const socket = socketOf(kind, blankSocket(kind));
  // What is closed in this turn of the loop is no resource that an app may find at work in the next.
  socket.unref();
  socket.destroy();
}

/**
 * Of datagrams the app's own socket shows the class.
 * @param {any} socket
 */
function learnDatagramClass(socket) {
  if (classes.has('udp')) return;
  const state = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  classes.set('udp', socket[/** @type {symbol} */ (state)].handle.constructor);
}

/**
 * @param {'tcp' | 'pipe' | 'udp'} kind
 * @param {number} fd
 */
function socketOf(kind, fd) {
  const options = { fd, manualStart: true, readable: false, writable: false };
  const socket = /** @type {any} */ (new net.Socket(options));
  classes.set(kind, socket._handle.constructor);
  return socket;
}

/**
 * The handle of the first connection of a kind, which shows the class: whoever watches handles sees none but its own.
 * @param {'tcp' | 'pipe' | 'udp'} kind
 * @param {number} fd from here on the handle's to close
 */
function firstHandle(kind, fd) {
  const socket = socketOf(kind, fd);
  const handle = socket._handle;
  // The socket of the connection is still to be made, by net.
  socket._handle = null;
  return handle;
}

/** Whether Node's permission model forbids handles of connections (v25 on). */
function isNetForbidden() {
  const { permission } = /** @type {{ permission?: { has(scope: string): boolean } }} */ (process);
  return NODE_MAJOR >= 25 && permission !== undefined && !permission.has('net');
}

/**
 * @param {'tcp' | 'pipe' | 'udp'} kind
 * @param {number} fd from here on the handle's to close
 * @param {number} type
 */
function openHandle(kind, fd, type) {
  const Handle = /** @type {new (type?: number) => any} */ (classes.get(kind));
  const handle = new Handle(type);
  const errno = handle.open(fd);
  if (errno !== 0) {
    throw Object.assign(new Error(`opening a ${kind} handle: ${errno}`), { errno, syscall: 'open' });
  }
  return handle;
}

/**
 * Makes a descriptor that the primary has accepted a connection as net's `onconnection` expects it.
 *
 * @param {'tcp' | 'pipe' | 'udp'} kind
 * @param {number} fd
 * @param {() => void} onClose called once, when the handle is closed
 */
function connectionHandle(kind, fd, onClose) {
  const handle = classes.has(kind) ? openHandle(kind, fd, SOCKET) : firstHandle(kind, fd);
  handle[onCloseSymbol] = onClose;
  handle.close = closeOnce;
  return handle;
}

const onCloseSymbol = Symbol('rcluster.onClose');

/**
 * One function for all connections instead of a closure for each: this is the hot path.
 *
 * @this {any} the handle
 * @param {...any} args
 */
function closeOnce(...args) {
  const { close } = Object.getPrototypeOf(this);
  this.close = close;
  this[onCloseSymbol]();
  return Reflect.apply(close, this, args);
}

/**
 * Makes a descriptor that all workers of a listener share a handle for net or dgram.
 *
 * @param {'tcp' | 'pipe' | 'udp'} kind
 * @param {number} fd
 * @param {() => void} onClose
 */
function sharedHandle(kind, fd, onClose) {
  const handle = openHandle(kind, fd, SERVER);
  const { close } = handle;
  handle.close = function (/** @type {any[]} */ ...args) {
    onClose();
    return Reflect.apply(close, this, args);
  };
  return handle;
}

/**
 * Handles exceptions that nobody has caught, and unhandled rejections, in the place of Node's end of the process.
 * Applications that look at the listeners of 'uncaughtException' find only their own: ours is there for the moment in
 * which Node calls it, so that everything else about an exception stays Node's.
 *
 * @param {() => ((error: unknown, origin: 'uncaughtException' | 'unhandledRejection') => void) | undefined} choose
 *   asked each time for what handles it, if it is not for Node; an application that handles exceptions itself comes first
 */
function interceptExceptions(choose) {
  const inner = /** @type {any} */ (realProcess);
  const original = inner._fatalException;
  inner._fatalException = function (/** @type {any[]} */ ...args) {
    const taken =
      process.listenerCount('uncaughtException') > 0 || process.hasUncaughtExceptionCaptureCallback();
    const handle = taken ? undefined : choose();
    if (handle === undefined) return Reflect.apply(original, this, args);
    process.on('uncaughtException', handle);
    try {
      return Reflect.apply(original, this, args);
    } finally {
      process.removeListener('uncaughtException', handle);
    }
  };
}

/**
 * A handle for net that is bound to an address and does not listen yet.
 *
 * @param {'tcp' | 'pipe'} kind
 * @param {string} address
 * @param {number} port
 * @param {() => void} onClose
 * @returns {{ errno: number, handle: any }} errno is 0 or a negative errno number
 */
function boundHandle(kind, address, port, onClose) {
  const Handle = /** @type {new (type?: number) => any} */ (classes.get(kind));
  const handle = new Handle(SERVER);
  const errno = kind === 'pipe' ? handle.bind(address) : handle.bind(address, port);
  if (errno !== 0) {
    // It never was open for anybody: there is nothing to tell.
    handle.close();
    return { errno, handle };
  }
  const { close } = handle;
  handle.close = function (/** @type {any[]} */ ...args) {
    onClose();
    return Reflect.apply(close, this, args);
  };
  return { errno, handle };
}

module.exports = {
  replaceWorkerSide,
  interceptExceptions,
  unixAddress,
  notifyPrimary,
  expectAnswer,
  deliverAnswer,
  ownerOf,
  isFull,
  isNetForbidden,
  learnDatagramClass,
  learnHandleClass,
  connectionHandle,
  sharedHandle,
  boundHandle,
};
