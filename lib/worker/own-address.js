'use strict';

const { Map, Set, nextTick, setImmediate } = require('../globals');
const seam = require('../seam/worker');

/**
 * The listen addresses that include this machine's loopback address: the primary, which is on this machine,
 * can connect to them.
 */
const HERE = new Set([null, undefined, '', '0.0.0.0', '::', '127.0.0.1', '::1']);

/**
 * The number of turns of the event loop without a new connection before a server is closed, so that data that
 * clients have sent is read.
 */
const QUIET_TURNS = 4;

/** The maximum number of turns, even if clients keep connecting. This is larger than any backlog. */
const MOST_TURNS = 10_000;

/** The address that the primary connects to. */
const LOOPBACK = '127.0.0.1';

/**
 * Lets servers accept the connections that wait for them before they are closed. The primary no longer
 * connects to them, and has reclaimed connections without any bytes. Other connections may still wait to be
 * accepted, or for their first bytes to be read, and closing would cut them off. libuv accepts one connection
 * per turn of the event loop, and some turns accept none, so the kernel is asked whether a client waits.
 *
 * @param {import('./listening').Member[]} members
 * @param {{ hasClient(fd: number): boolean }} link
 * @param {() => void} done
 */
function acceptTheRest(members, link, done) {
  const servers = members.filter(({ kind, owner }) => kind !== 'udp' && owner);
  if (servers.length === 0) {
    done();
    return;
  }
  let quiet = 0;
  let left = MOST_TURNS;
  const onConnection = () => {
    quiet = 0;
  };
  // Connections that the primary passes arrive without a listening socket of this worker.
  for (const { owner } of servers) owner.on('connection', onConnection);
  const turn = () => {
    if (servers.some(({ handle }) => handle.fd >= 0 && link.hasClient(handle.fd))) quiet = 0;
    if (quiet++ < QUIET_TURNS && left-- > 0) {
      setImmediate(turn);
    } else {
      for (const { owner } of servers) owner.off('connection', onConnection);
      done();
    }
  };
  turn();
}

/**
 * The addresses that the primary has reserved for this worker and forwards to. On these the worker listens by
 * itself; all other listen requests go to the primary.
 *
 * @param {readonly string[]} addresses ports and paths
 * @param {{ blankSocket(tcp: boolean): number }} link
 */
function createOwnAddresses(addresses, link) {
  const known = new Set(addresses);
  /** @type {Map<any, 'tcp' | 'pipe'>} the handles of servers that are open */
  const open = new Map();

  return {
    /**
     * Whether a server requests one of these addresses.
     *
     * @param {any} options the options with which net calls the cluster
     */
    has({ address, port, addressType, fd }) {
      if (fd >= 0) return false;
      if (addressType === -1) return known.has(address);
      return (addressType === 4 || addressType === 6) && known.has(`${port}`) && HERE.has(address);
    },

    /**
     * Opens it as net would without a cluster, except that a port is bound to the loopback address only.
     *
     * @param {any} options
     * @param {(errno: number, handle: any) => void} callback
     */
    open({ address, port, addressType }, callback) {
      const kind = addressType === -1 ? 'pipe' : 'tcp';
      seam.learnHandleClass(kind, (which) => link.blankSocket(which === 'tcp'));
      const { errno, handle } = seam.boundHandle(kind, addressType === -1 ? address : LOOPBACK, port, () =>
        open.delete(handle),
      );
      if (errno === 0) open.set(handle, kind);
      // Deferred, because the caller of listen() may add its listener for 'error' afterwards.
      nextTick(() => callback(errno, errno === 0 ? handle : null));
    },

    /** @returns {import('./listening').Member[]} those that are open */
    members() {
      return [...open].map(([handle, kind]) => ({ handle, kind, shared: true, owner: seam.ownerOf(handle) }));
    },
  };
}

module.exports = { acceptTheRest, createOwnAddresses };
