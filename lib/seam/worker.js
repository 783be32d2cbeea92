'use strict';

// What rcluster knows about Node's private interfaces in a worker. Tested with every version that
// docs/compatibility.md names.

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
const { keepListening } = require('../keep-listening');
const { handleOf } = require('./listen');

const NODE_MAJOR = Number(process.versions.node.split('.')[0]);

/** The types that the constructors of TCP and Pipe take, for a connection and for a listening socket. */
const SOCKET = 0;
const SERVER = 1;

/** The length in bytes of a Unix address, to which Node before 22 pads the name of an abstract socket. */
const UNIX_ADDRESS = 108;

/**
 * Our messages are numbered separately from those of Node's own code in the same process, so that an answer
 * to one is not mistaken for an answer to the other.
 */
let sequence = 2 ** 30;

/** @type {Map<number, (answer: any) => void>} the callbacks for answers of the primary */
const unanswered = new Map();

/**
 * Replaces the built-in's functions on the single object to which `require('cluster')`, `import`, net and dgram
 * refer.
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

  // Node's own listener does not know our servers, so it must not receive the order to disconnect. It
  // receives all other messages, because it handles the answers to `worker.destroy()`.
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
 * The name to bind for a Unix path. Node before 22 pads an abstract name (one that begins with NUL, after the
 * working directory that `path.resolve` has prepended) with NULs, so a client would not find the bare name.
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
 * Numbers a request to the primary, for either channel.
 *
 * @param {(answer: any) => void} onAnswer
 */
function expectAnswer(onAnswer) {
  const seq = sequence++;
  unanswered.set(seq, onAnswer);
  return seq;
}

/**
 * Delivers an answer from our own link as an 'internalMessage', as with the built-in: an application may
 * count or watch those.
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
  // The application may have removed our listener, or replaced emit().
  const answered = unanswered.get(seq);
  unanswered.delete(seq);
  answered?.(answer);
}

/**
 * Sends the primary's JavaScript a message in the built-in's format, over Node's own channel, so that it
 * keeps its place among the application's messages.
 *
 * @param {object} message
 * @param {() => void} [onAnswer]
 */
function notifyPrimary(message, onAnswer) {
  if (!process.connected) return;
  const seq = onAnswer ? expectAnswer(onAnswer) : sequence++;
  /** @type {any} */ (process).send({ cmd: 'NODE_CLUSTER', ...message, seq });
}

/** @type {symbol | undefined} the key under which Node's handles hold their owner, once found */
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
 * Whether a server has reached its limit of connections, by the rules of this version of Node.
 *
 * @param {any} server
 */
function isFull(server) {
  const limit = server?.maxConnections;
  if (limit == null || (NODE_MAJOR < 22 && limit === 0)) return false;
  return server._connections >= limit && !(NODE_MAJOR >= 22 && server.dropMaxConnection);
}

/** @type {Map<string, new (type?: number) => any>} the classes of Node's handles that were needed so far */
const classes = new Map();

/**
 * @param {'tcp' | 'pipe'} kind
 * @param {(kind: 'tcp' | 'pipe') => number} blankSocket creates an unused socket
 */
function learnHandleClass(kind, blankSocket) {
  if (classes.has(kind)) return;
  const socket = socketOf(kind, blankSocket(kind));
  // Destroyed in this turn of the event loop, so that an app never sees it among the active resources.
  socket.unref();
  socket.destroy();
}

/**
 * For datagrams, the app's own socket shows the class.
 * @param {any} socket which is open
 */
function learnDatagramClass(socket) {
  classes.set('udp', handleOf(socket).constructor);
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
 * The handle of the first connection of a kind, which shows the class, so that no extra handle is ever
 * visible.
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
 * Turns a descriptor that the primary has accepted into a connection handle as net's `onconnection` expects it.
 *
 * @param {'tcp' | 'pipe' | 'udp'} kind
 * @param {number} fd
 * @param {() => void} onClose called once, when the handle is closed
 * @param {number | undefined} listener to which the connection can be returned
 */
function connectionHandle(kind, fd, onClose, listener) {
  const handle = classes.has(kind) ? openHandle(kind, fd, SOCKET) : firstHandle(kind, fd);
  handle[onCloseSymbol] = onClose;
  handle[listenerSymbol] = listener;
  handle.close = closeOnce;
  return handle;
}

const onCloseSymbol = Symbol('rcluster.onClose');
const listenerSymbol = Symbol('rcluster.listener');

/**
 * The open connections of {@link connectionHandle} of which nothing has been read, and to which nothing was written.
 *
 * @returns {{ listener: number, handle: any }[]}
 */
function untouchedConnections() {
  const untouched = [];
  for (const socket of /** @type {any} */ (process)._getActiveHandles()) {
    const handle = socket._handle;
    const listener = handle?.[listenerSymbol];
    if (listener === undefined || socket.destroyed || socket.writableEnded) continue;
    if (handle.bytesRead + handle.bytesWritten + socket.bytesWritten > 0) continue;
    untouched.push({ listener, handle });
  }
  return untouched;
}

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
 * Turns a descriptor that all workers of a listener share into a handle for net or dgram.
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
 * Handles uncaught exceptions and unhandled rejections instead of Node's end of the process. Applications
 * that inspect the listeners of 'uncaughtException' find only their own: ours is present only while Node
 * calls it, so that everything else about an exception remains Node's.
 *
 * @param {() => ((error: unknown, origin: 'uncaughtException' | 'unhandledRejection') => void) | undefined} choose
 *   called each time; returns the handler, or undefined for Node's own. The application's handlers come first
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
    // The app has never seen it, so `onClose` is not called.
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
  untouchedConnections,
  sharedHandle,
  boundHandle,
};
