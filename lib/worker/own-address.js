'use strict';

const seam = require('../seam/worker');

/**
 * The addresses at which a server means nothing in particular, or this machine: at these the primary, which
 * is on this machine, finds it.
 */
const HERE = new Set([null, undefined, '', '0.0.0.0', '::', '127.0.0.1', '::1']);

/**
 * How often the event loop turns without a new connection before a server is closed: so that the last one has been
 * accepted, and what it has said has been read.
 */
const QUIET_TURNS = 4;

/** And how often at the most, whoever connects: that is more than any backlog holds. */
const MOST_TURNS = 10_000;

/** Where the primary connects to. */
const LOOPBACK = '127.0.0.1';

/**
 * Lets servers accept what waits for them. libuv accepts one connection each time the event loop turns.
 *
 * @param {import('node:events').EventEmitter[]} servers
 * @param {() => void} done
 */
function acceptTheRest(servers, done) {
  let quiet = 0;
  let left = MOST_TURNS;
  for (const server of servers) {
    server.on('connection', () => {
      quiet = 0;
    });
  }
  const turn = () => {
    if (quiet++ === QUIET_TURNS || left-- === 0) done();
    else setImmediate(turn);
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
module.exports = function createOwnAddresses(addresses, link) {
  const known = new Set(addresses.filter((address) => address !== ''));
  /** @type {Set<any>} the handles of servers that are open */
  const open = new Set();

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
      if (errno === 0) open.add(handle);
      // Not at once: whoever calls listen() first may add a listener for 'error' after that.
      process.nextTick(() => callback(errno, errno === 0 ? handle : null));
    },

    /**
     * Closes them. The primary connects to none of them any more, and has taken back connections on which nothing
     * was said. Others may still be waiting to be accepted, or for their first bytes to be read, and closing would
     * cut them off, since an HTTP server closes all that seems to be idle: so the event loop turns before that.
     *
     * @param {() => void} done called once all their connections have ended
     */
    closeAll(done) {
      const close = () => {
        let waiting = 1;
        const one = () => {
          if (--waiting === 0) done();
        };
        for (const handle of open) {
          waiting++;
          const owner = seam.ownerOf(handle);
          if (owner) owner.close(one);
          else handle.close(one);
        }
        one();
      };
      if (open.size === 0) close();
      else acceptTheRest([...open].map(seam.ownerOf).filter(Boolean), close);
    },
  };
};
