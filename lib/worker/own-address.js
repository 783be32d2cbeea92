'use strict';

const { Map, Set, nextTick, setImmediate } = require('../globals');
const seam = require('../seam/worker');

/**
 * The addresses at which a server means nothing in particular, or this machine: at these the primary, which
 * is on this machine, finds it.
 */
const HERE = new Set([null, undefined, '', '0.0.0.0', '::', '127.0.0.1', '::1']);

/**
 * How often the event loop turns after the last connection has been accepted and before a server is closed: so that what
 * has been said on it is read.
 */
const QUIET_TURNS = 4;

/** And how often at the most, whoever connects: that is more than any backlog holds. */
const MOST_TURNS = 10_000;

/** Where the primary connects to. */
const LOOPBACK = '127.0.0.1';

/**
 * Lets servers accept what waits for them before they are closed. The primary connects to none of them any more, and has
 * taken back connections on which nothing was said. Others may still be waiting to be accepted, or for their first bytes
 * to be read, and closing would cut them off. libuv accepts one connection each time the event loop turns, and may turn
 * without accepting any; so the kernel is asked whether somebody waits.
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
  // Those that the primary passes come without a listening socket of this worker's.
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
 * The addresses that the primary has set aside for this worker and forwards to. On these it listens by
 * itself; all others go by the primary.
 *
 * @param {string[]} addresses ports and paths
 * @param {{ blankSocket(tcp: boolean): number }} link
 */
function createOwnAddresses(addresses, link) {
  const known = new Set(addresses.filter((address) => address !== ''));
  /** @type {Map<any, 'tcp' | 'pipe'>} the handles of servers that are open */
  const open = new Map();

  return {
    /**
     * Whether a server asks for one of them.
     *
     * @param {any} options what net asks the cluster for
     */
    has({ address, port, addressType, fd }) {
      if (known.size === 0 || fd >= 0) return false;
      if (addressType === -1) return known.has(address);
      return (addressType === 4 || addressType === 6) && known.has(`${port}`) && HERE.has(address);
    },

    /**
     * Opens it, as net would if there were no cluster; but a port is nobody's business outside of this
     * machine.
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
      // Not at once: whoever calls listen() first may add a listener for 'error' after that.
      nextTick(() => callback(errno, errno === 0 ? handle : null));
    },

    /** @returns {import('./listening').Member[]} those that are open */
    members() {
      return [...open].map(([handle, kind]) => ({ handle, kind, shared: true, owner: seam.ownerOf(handle) }));
    },
  };
}

module.exports = { acceptTheRest, createOwnAddresses };
