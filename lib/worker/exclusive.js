'use strict';

const { Map } = require('../globals');
const { watchListening, handleOf } = require('../seam/listen');

/**
 * Tracks the servers and sockets of this worker that listen neither through the primary nor at an address of
 * their own: net and dgram bind those themselves.
 *
 * @param {(handle: any) => boolean} isKnown whether a handle belongs to a server that is counted elsewhere
 * @param {(owner: any) => void} onOwner called for each server or socket that listens
 */
function createExclusive(isKnown, onOwner) {
  /** @type {Map<any, 'tcp' | 'pipe' | 'udp'>} */
  const open = new Map();

  watchListening((owner, kind) => {
    for (const other of open.keys()) if (handleOf(other) === null) open.delete(other);
    if (open.has(owner) || isKnown(handleOf(owner))) return;
    open.set(owner, kind);
    onOwner(owner);
  });

  return {
    /** @returns {import('./listening').Member[]} those that are open */
    members() {
      return [...open]
        .map(([owner, kind]) => ({ owner, kind, shared: true, handle: handleOf(owner) }))
        .filter(({ handle }) => handle !== null);
    },
  };
}

module.exports = { createExclusive };
