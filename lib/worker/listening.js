'use strict';

const fs = require('node:fs');
const path = require('node:path');
const os = require('node:os');
const { debuglog } = require('node:util');
const { JSON, Map, nextTick } = require('../globals');
const seam = require('../seam/worker');
const createFauxHandle = require('./faux-handle');
const createAdmission = require('./admission');
const { acceptTheRest } = require('./own-address');
const createKept = require('./kept');
const { createExclusive } = require('./exclusive');
const Indexes = require('./indexes');

const debug = debuglog('rcluster');

/**
 * @typedef {object} Reply the primary's answer to a query
 * @property {'reply'} act
 * @property {number} seq
 * @property {number} errno 0 or a negative errno number
 * @property {number | null} listener
 * @property {'tcp' | 'pipe' | 'udp' | null} kind
 * @property {boolean} shared whether the listening socket itself comes along
 * @property {boolean} perSlot whether that one is for this worker's slot alone
 * @property {{ by: string, name?: string } | null} handOver by what a client is recognised whose connection is handed
 *   over; null where none is
 * @property {{ address: string, family: string, port: number } | null} sockname
 * @property {unknown} data custom data that all workers of the listener share
 */

/**
 * A server or socket of this worker.
 *
 * @typedef {object} Member
 * @property {number} [listener] the number of the listener in the primary; none if the primary has no part in it
 * @property {any} handle what net or dgram hold as their handle
 * @property {boolean} shared whether it accepts by itself
 * @property {boolean} [perSlot] whether it does so from a socket of its own
 * @property {'tcp' | 'pipe' | 'udp'} kind
 * @property {Reply['handOver']} [handOver]
 * @property {import('../seam/kept').Looks} [looks] of the socket of a new connection that http reads
 * @property {any} [owner] the net.Server or dgram.Socket, if it has taken the handle
 */

/**
 * Says something to the primary, as long as there is one. When the link is broken there is nobody
 * to tell, and the break itself is acted on where it is noticed: this worker ends.
 *
 * @param {() => void} say
 * @returns {boolean} whether it was said
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
 * @param {ReturnType<typeof import('./own-address').createOwnAddresses>} own
 * @param {(owner: any) => void} onOwner told of each server or socket that is about to listen
 */
module.exports = function createListening(cluster, link, own, onOwner) {
  /** @type {Map<number, Member>} by the listener's number in the primary */
  const members = new Map();
  const indexes = new Indexes();
  const admission = createAdmission(room, full);
  const kept = createKept(link);
  const exclusive = createExclusive(isKnown, (owner) => {
    onOwner(owner);
    tell({ act: 'listensAlone' });
  });
  let closing = false;

  /** @param {any} handle that net or dgram hold */
  function isKnown(handle) {
    return current().some((member) => member.handle === handle);
  }

  /**
   * What net and dgram call in place of binding a socket themselves.
   *
   * @param {any} owner the net.Server or dgram.Socket
   * @param {any} options
   * @param {(errno: number, handle: any) => void} callback
   */
  function getServer(owner, options, callback) {
    let { address } = options;
    // The primary may have another working directory.
    if (options.port < 0 && typeof address === 'string') address = path.resolve(address);
    if (own.has({ ...options, address })) {
      onOwner(owner);
      owner.once('listening', () => tell({ act: 'listensAlone' }));
      announce(owner, { ...options, address }, () => true);
      own.open({ ...options, address }, callback);
      return;
    }
    const index = indexes.take([address, options.port, options.addressType, options.fd].join(':'));
    const query = {
      act: 'queryServer',
      index: index.number,
      data: owner._getServerData ? owner._getServerData() : null,
      ...options,
      address,
      // net says false for none, and hands on whatever else the application gave it.
      backlog: options.backlog | 0,
    };

    ask(query, (reply, fd) => {
      if (closing) return turnDown(fd, index);
      if (typeof owner._setServerData === 'function') owner._setServerData(reply.data);
      if (reply.errno !== 0 || reply.listener === null || reply.kind === null) {
        // The place in the index stays taken, as with the built-in: the next attempt asks anew.
        callback(reply.errno, null);
        return;
      }
      const { listener } = reply;
      onOwner(owner);
      callback(0, join(owner, listener, reply.kind, reply, fd, index.release));
      // Only now is there somebody to take a connection. net may also have closed it at once.
      if (!members.has(listener)) {
        if (reply.perSlot) fs.closeSync(fd);
        return;
      }
      if (reply.perSlot) link.acceptFrom(listener, fd);
      tell({ act: 'listening', listener });
      admission.open(listener);
    });

    announce(owner, query, index.taken);
  }

  /**
   * Tells the primary's JavaScript when a server listens.
   *
   * @param {any} owner the net.Server or dgram.Socket
   * @param {any} query
   * @param {() => boolean} isOpen whether it still is by the time it says so
   */
  function announce(owner, query, isOpen) {
    owner.once('listening', () => {
      if (!isOpen()) return;
      cluster.worker.state = 'listening';
      const bound = owner.address();
      seam.notifyPrimary({ ...query, act: 'listening', port: bound?.port || query.port });
    });
  }

  /**
   * An answer came after this worker was told to disconnect, which it had no server to close for
   * then. One that came up now would keep it alive for ever.
   *
   * @param {number} fd the shared socket's descriptor, or -1
   * @param {{ release(): void }} index
   */
  function turnDown(fd, index) {
    if (fd >= 0) fs.closeSync(fd);
    index.release();
  }

  /**
   * @param {{ address?: any }} query
   * @param {(reply: Reply, fd: number) => void} callback
   */
  function ask(query, callback) {
    const seq = seam.expectAnswer(({ reply, fd }) => callback(reply, fd));
    const address = typeof query.address === 'string' ? seam.unixAddress(query.address) : query.address;
    try {
      link.send(JSON.stringify({ ...query, act: 'query', address, seq }));
    } catch {
      // Too long for one frame, which only custom data or an address can be, or the link is
      // broken, which ends this worker anyway.
      const errno = -os.constants.errno.EMSGSIZE;
      nextTick(answer, { act: 'reply', seq, errno, listener: null, kind: null, shared: false }, -1);
    }
  }

  /**
   * Tells the primary something that needs no answer.
   *
   * @param {object} frame
   */
  function tell(frame) {
    whileLinked(() => link.send(JSON.stringify(frame)));
  }

  /** @param {number} listener whose server has become full */
  function full(listener) {
    // Of what the primary passes, the next connection tells it, by coming back.
    if (members.get(listener)?.perSlot) whileLinked(() => link.noRoom(listener));
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
  function giveBack(listener, fd, full) {
    whileLinked(() => link.giveBack(listener, fd, full));
  }

  /**
   * The primary has answered a query.
   *
   * @param {Reply} reply
   * @param {number} fd the shared socket's descriptor, or -1
   */
  function answer(reply, fd) {
    seam.deliverAnswer(reply.seq, { errno: reply.errno, key: reply.listener, data: reply.data, reply, fd });
  }

  /**
   * @param {any} owner the net.Server or dgram.Socket
   * @param {number} listener
   * @param {'tcp' | 'pipe' | 'udp'} kind
   * @param {Reply} reply
   * @param {number} fd
   * @param {() => void} releaseIndex
   */
  function join(owner, listener, kind, reply, fd, releaseIndex) {
    const leave = () => {
      if (!members.delete(listener)) return;
      releaseIndex();
      if (reply.perSlot) link.stopAccepting(listener);
      admission.close(listener);
      tell({ act: 'close', listener });
      // The same once more on Node's channel: so the primary does it before it hands out what the
      // application says next, and whoever watches the messages there finds the built-in's.
      seam.notifyPrimary({ act: 'close', key: listener });
    };
    const byItself = reply.shared && !reply.perSlot;
    if (kind === 'udp') seam.learnDatagramClass(owner);
    // Otherwise the first connection shows the class. Where it would not be allowed to, listening is not, either.
    else if (byItself || seam.isNetForbidden()) {
      seam.learnHandleClass(kind, (which) => link.blankSocket(which === 'tcp'));
    }
    const handle = byItself
      ? seam.sharedHandle(kind, fd, leave)
      : createFauxHandle(kind === 'tcp' ? reply.sockname : null, leave);
    const { shared, perSlot, handOver } = reply;
    members.set(listener, { listener, handle, kind, shared, perSlot, handOver, looks: undefined });
    if (handOver && handOver.by !== 'address') kept.rememberRequests();
    return handle;
  }

  /** A connection has ended: the primary counts those that are open. */
  function closed() {
    link.closed();
  }

  /**
   * A connection has come for one of our servers.
   *
   * @param {number} listener
   * @param {number} fd
   * @param {number} served 1 if another worker has answered requests on it and has handed it over
   */
  function connection(listener, fd, served) {
    const member = members.get(listener);
    // The server was closed while the connection was on its way: another worker takes it.
    if (member === undefined) return giveBack(listener, fd, false);
    if (!admission.admit(listener, member.handle)) return giveBack(listener, fd, true);
    const handle = seam.connectionHandle(member.kind, fd, closed);
    member.handle.onconnection(0, admission.watch(listener, member.handle, handle));
    if (member.handOver) kept.opened(member, handle, served === 1);
    // Who accepts by itself has to know before the next one; unless that one has closed the server.
    if (member.perSlot && members.get(listener) === member) admission.admit(listener, member.handle);
  }

  /** @returns {Member[]} what listens through the primary or at an address that the primary forwards to */
  function current() {
    const passed = [...members.values()].map((member) => ({ ...member, owner: seam.ownerOf(member.handle) }));
    return [...passed, ...own.members()];
  }

  /** @returns {Member[]} everything that listens */
  function all() {
    return [...current(), ...exclusive.members()];
  }

  /**
   * Gives connections that are open to other workers. Their descriptors here are still to be closed.
   *
   * @param {Member} member
   * @param {any[]} sockets at most 32
   * @returns {boolean} false when they stay here, because descriptors have run out
   */
  function handOver({ listener, handOver: by }, sockets) {
    const connections = sockets.map((socket) => kept.describe(socket, by));
    return whileLinked(() =>
      link.handOver(/** @type {number} */ (listener), connections, JSON.stringify(by)),
    );
  }

  /**
   * Closes servers and sockets. `disconnect()` closes, as with the built-in, only those that the cluster knows of.
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
    acceptTheRest(alone, link, () => {
      for (const member of alone) close(member, one);
    });
    one();
  }

  return { getServer, answer, connection, closeAll, handOver, tell, members: all };
};
