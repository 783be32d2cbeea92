'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { debuglog } = require('node:util');
const { JSON, Map, nextTick } = require('../globals');
const { keepListening } = require('../keep-listening');
const { later } = require('../later');
const seam = require('../seam/worker');
const createFauxHandle = require('./faux-handle');
const createAdmission = require('./admission');
const { createExclusive } = require('./exclusive');
const Indexes = require('./indexes');

/** @type {() => typeof import('./kept')} */
const createKept = later('worker/kept');
/** @type {() => typeof import('./own-address')} */
const ownAddress = later('worker/own-address');

const debug = debuglog('rcluster');

/**
 * @typedef {object} Reply the primary's answer to a listen request
 * @property {'reply'} act
 * @property {number} seq
 * @property {number} errno 0 or a negative errno number
 * @property {number | null} listener
 * @property {'tcp' | 'pipe' | 'udp' | null} kind
 * @property {boolean} shared whether the listening socket itself comes along
 * @property {boolean} perSlot whether that socket is only for this worker's slot
 * @property {{ by: string, name?: string } | null} handOver what identifies the client of a handed-over
 * connection; null if none is handed over
 * @property {{ address: string, family: string, port: number } | null} sockname
 * @property {unknown} data custom data that all workers of the listener share
 */

/**
 * A server or socket of this worker.
 *
 * @typedef {object} Member
 * @property {number} [listener] the number of the listener in the primary; undefined if it is not the primary's
 * @property {any} handle the handle that net or dgram holds
 * @property {boolean} shared whether this worker accepts by itself
 * @property {boolean} [perSlot] whether it accepts from a socket of its own
 * @property {'tcp' | 'pipe' | 'udp'} kind
 * @property {Reply['handOver']} [handOver]
 * @property {import('../seam/kept').Looks} [looks] of the socket of a new connection that http reads
 * @property {any} [owner] the net.Server or dgram.Socket, if it has taken the handle
 */

/** The numbers of errors. node:os is loaded only when one is needed. */
function errors() {
  return require('node:os').constants.errno;
}

/**
 * Sends something to the primary, if the link still works. A broken link needs no handling here: this worker
 * ends when it detects that.
 *
 * @param {() => void} say
 * @returns {boolean} whether it was sent
 */
function whileLinked(say) {
  try {
    say();
    return true;
  } catch (error) {
    debug('not said: %s', error);
    return false;
  }
}

/**
 * The part of a worker that listens through its primary.
 *
 * @param {any} cluster the worker-shaped cluster object
 * @param {import('../../binding').WorkerLink} link
 * @param {readonly string[]} addresses this worker's own ports and paths
 * @param {(owner: any) => void} onOwner called for each server or socket that is about to listen
 */
module.exports = function createListening(cluster, link, addresses, onOwner) {
  /** @type {Map<number, Member>} by the listener's number in the primary */
  const members = new Map();
  const indexes = new Indexes();
  const admission = createAdmission(room, full);
  const own = addresses.length === 0 ? null : ownAddress().createOwnAddresses(addresses, link);
  /** @type {ReturnType<typeof import('./kept')> | undefined} once a connection may be handed over */
  let keptConnections;
  const exclusive = createExclusive(isKnown, (owner) => {
    onOwner(owner);
    tell({ act: 'listensAlone' });
  });
  let closing = false;
  /**
   * The handle whose 'connection' event is being emitted, or has thrown; null before the first, so that a worker without
   * connections has no listener that its app did not add.
   * @type {any}
   */
  let delivering = null;

  function kept() {
    keptConnections ??= createKept()(link);
    return keptConnections;
  }

  /** @param {any} handle the handle that net or dgram holds */
  function isKnown(handle) {
    return current().some((member) => member.handle === handle);
  }

  /**
   * Called by net and dgram instead of binding a socket themselves.
   *
   * @param {any} owner the net.Server or dgram.Socket
   * @param {any} options
   * @param {(errno: number, handle: any) => void} callback
   */
  function getServer(owner, options, callback) {
    let { address } = options;
    // Resolved here, because the primary may have another working directory.
    if (options.port < 0 && typeof address === 'string') address = path.resolve(address);
    if (own?.has({ ...options, address })) {
      onOwner(owner);
      owner.once('listening', () => tell({ act: 'listensAlone' }));
      announce(owner, { ...options, address }, () => true);
      own.open({ ...options, address }, callback);
      return;
    }
    // net passes a number. Now, because the app may close the socket before the answer is here.
    if (typeof options.addressType === 'string') seam.learnDatagramClass(owner);
    const index = indexes.take([address, options.port, options.addressType, options.fd].join(':'));
    const request = {
      act: 'queryServer',
      index: index.number,
      data: owner._getServerData ? owner._getServerData() : null,
      ...options,
      address,
      // net passes false for no backlog, and otherwise whatever the application gave.
      backlog: options.backlog | 0,
    };

    ask(request, (reply, fd) => {
      if (closing) return turnDown(fd, index);
      if (reply.errno !== 0 || reply.listener === null || reply.kind === null) {
        // The index stays taken, as with the built-in: the next attempt gets a new one.
        callback(reply.errno, null);
        return;
      }
      // A refusal has none, and a server with TLS would throw.
      if (typeof owner._setServerData === 'function') owner._setServerData(reply.data);
      const { listener } = reply;
      // It came along, and this process had no room for it.
      if (reply.shared && fd < 0) {
        turnDown(fd, index);
        tell({ act: 'close', listener });
        callback(-errors().EMFILE, null);
        return;
      }
      onOwner(owner);
      callback(0, join(listener, reply.kind, reply, fd, index.release));
      // Only now can a connection be received. net may also have closed the server at once.
      if (!members.has(listener)) {
        if (reply.perSlot) fs.closeSync(fd);
        return;
      }
      if (reply.perSlot) link.acceptFrom(listener, fd);
      tell({ act: 'listening', listener });
      admission.open(listener);
    });

    announce(owner, request, index.taken);
  }

  /**
   * Tells the primary's JavaScript when a server listens.
   *
   * @param {any} owner the net.Server or dgram.Socket
   * @param {any} request
   * @param {() => boolean} isOpen whether the server is still open when it emits 'listening'
   */
  function announce(owner, request, isOpen) {
    owner.once('listening', () => {
      if (!isOpen()) return;
      cluster.worker.state = 'listening';
      const bound = owner.address();
      seam.notifyPrimary({ ...request, act: 'listening', port: bound?.port || request.port });
    });
  }

  /**
   * Drops an answer that arrived after the order to disconnect: when that arrived, there was no server to
   * close, and a server opened now would keep the worker alive forever.
   *
   * @param {number} fd the shared socket's descriptor, or -1
   * @param {{ release(): void }} index
   */
  function turnDown(fd, index) {
    if (fd >= 0) fs.closeSync(fd);
    index.release();
  }

  /**
   * @param {{ address?: any }} request
   * @param {(reply: Reply, fd: number) => void} callback
   */
  function ask(request, callback) {
    const seq = seam.expectAnswer(({ reply, fd }) => callback(reply, fd));
    const address = typeof request.address === 'string' ? seam.unixAddress(request.address) : request.address;
    try {
      link.send(JSON.stringify({ ...request, act: 'query', address, seq }));
    } catch {
      // Either the frame is too long, which only custom data or an address can cause, or the link is broken,
      // which ends this worker anyway.
      const errno = -errors().EMSGSIZE;
      nextTick(answer, { act: 'reply', seq, errno, listener: null, kind: null, shared: false }, -1);
    }
  }

  /**
   * Sends the primary a frame that needs no answer.
   *
   * @param {object} frame
   */
  function tell(frame) {
    whileLinked(() => link.send(JSON.stringify(frame)));
  }

  /** @param {number} listener whose server has become full */
  function full(listener) {
    whileLinked(() => link.noRoom(listener));
  }

  /** @param {number} listener whose server was full and has room again */
  function room(listener) {
    whileLinked(() => link.room(listener));
  }

  /**
   * @param {number} listener
   * @param {number} fd
   * @param {boolean} full
   */
  function returnConnection(listener, fd, full) {
    whileLinked(() => link.returnConnection(listener, fd, full));
  }

  /**
   * The primary has answered a listen request.
   *
   * @param {Reply} reply
   * @param {number} fd the shared socket's descriptor, or -1
   */
  function answer(reply, fd) {
    seam.deliverAnswer(reply.seq, { errno: reply.errno, key: reply.listener, data: reply.data, reply, fd });
  }

  /**
   * @param {number} listener
   * @param {'tcp' | 'pipe' | 'udp'} kind
   * @param {Reply} reply
   * @param {number} fd
   * @param {() => void} releaseIndex
   */
  function join(listener, kind, reply, fd, releaseIndex) {
    const leave = () => {
      if (!members.delete(listener)) return;
      releaseIndex();
      if (reply.perSlot) link.stopAccepting(listener);
      admission.close(listener);
      tell({ act: 'close', listener });
      // The same on Node's channel, so that the primary handles it before the application's next message, and
      // an observer of those messages sees what the built-in sends.
      seam.notifyPrimary({ act: 'close', key: listener });
    };
    const byItself = reply.shared && !reply.perSlot;
    // The first connection shows the class. If the permission model would forbid that, it also forbids listening.
    if (kind !== 'udp' && (byItself || seam.isNetForbidden())) {
      seam.learnHandleClass(kind, (which) => link.blankSocket(which === 'tcp'));
    }
    const handle = byItself
      ? seam.sharedHandle(kind, fd, leave)
      : createFauxHandle(kind === 'tcp' ? reply.sockname : null, leave);
    const { shared, perSlot, handOver } = reply;
    members.set(listener, { listener, handle, kind, shared, perSlot, handOver, looks: undefined });
    if (handOver && handOver.by !== 'address') kept().rememberRequests();
    return handle;
  }

  /** A connection has ended. The primary counts those that are open. */
  function closed() {
    link.closed();
  }

  /**
   * A connection has arrived for one of our servers.
   *
   * @param {number} listener
   * @param {number} fd
   * @param {number} history see {@link HISTORY}
   */
  function connection(listener, fd, history) {
    const member = members.get(listener);
    // The server was closed while the connection was in flight: another worker takes it.
    if (member === undefined) return returnConnection(listener, fd, false);
    if (!admission.admit(listener, member.handle)) return returnConnection(listener, fd, true);
    // At most one other worker gets a connection that could be the reason why this one ends: see untouched().
    const handle = seam.connectionHandle(
      member.kind,
      fd,
      closed,
      history === HISTORY.none ? listener : undefined,
    );
    if (delivering === null) keepListening('exit', returnUntouched);
    delivering = handle;
    member.handle.onconnection(0, admission.watch(listener, member.handle, handle));
    delivering = undefined;
    if (member.handOver) kept().opened(member, handle, history === HISTORY.served);
    // That it is full must be reported before the next connection, unless this one has closed the server.
    if (members.get(listener) === member) admission.admit(listener, member.handle);
  }

  /** @returns {Member[]} what listens through the primary or at an address that the primary forwards to */
  function current() {
    const passed = [...members.values()].map((member) => ({ ...member, owner: seam.ownerOf(member.handle) }));
    return own === null ? passed : [...passed, ...own.members()];
  }

  /** @returns {Member[]} everything that listens */
  function all() {
    return [...current(), ...exclusive.members()];
  }

  /**
   * Hands open connections over to other workers. The caller must still close its own descriptors.
   *
   * @param {Member} member
   * @param {any[]} sockets at most 32
   * @returns {boolean} false if they stay here, because the link is broken or descriptors have run out
   */
  function handOver({ listener, handOver: by }, sockets) {
    const connections = sockets.map((socket) => kept().describe(socket, by));
    return whileLinked(() =>
      link.handOver(/** @type {number} */ (listener), connections, JSON.stringify(by)),
    );
  }

  /**
   * Closes servers and sockets. As with the built-in, `disconnect()` closes only those that the cluster knows
   * of.
   *
   * @param {() => void} done called once all their connections have ended
   * @param {(member: Member, closed: () => void) => void} close
   * @param {Member[]} [open]
   */
  function closeAll(done, close, open = current()) {
    closing = true;
    let waiting = 1;
    const one = () => {
      if (--waiting === 0) done();
    };
    tell({ act: 'leaving' });
    waiting += open.length;
    const alone = open.filter(({ listener }) => listener === undefined);
    for (const member of open) {
      if (!alone.includes(member)) close(member, one);
    }
    ownAddress().acceptTheRest(alone, link, () => {
      for (const member of alone) close(member, one);
    });
    one();
  }

  /**
   * This process ends by itself, perhaps in the middle of a burst of connections. Those from which nothing has been read,
   * and to which nothing was written, can still be served by another worker; not the one whose 'connection' event has
   * thrown.
   */
  function returnUntouched() {
    whileLinked(() => {
      link.returnUndelivered();
      for (const { listener, handle } of seam.untouchedConnections()) {
        if (handle !== delivering) link.returnUntouched(listener, handle.fd);
      }
    });
  }

  return { getServer, answer, connection, closeAll, handOver, tell, members: all };
};

/** What other workers have done with a connection before. With 2, one has had it, and has answered nothing. */
const HISTORY = { none: 0, served: 1 };
