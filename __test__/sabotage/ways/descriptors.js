'use strict';

// Descriptors that a worker sends to the primary.

const READY = Buffer.from('{"act":"ready"}').toString('hex');
const KINDS =
  'pipe,epoll,event,timer,inotify,memory,directory,path,null,udp,tcp,listening,netlink,packets,datagrams,stream,ended';

/**
 * A message on the connection channel that returns connections.
 * @param {string} tag
 * @param {number} listener
 * @param {number} [count]
 */
function gives(tag, listener, count = 1) {
  const entry = Buffer.alloc(tag === 'H' || tag === 'K' ? 20 : 4);
  entry.writeUInt32LE(listener);
  return Buffer.concat([Buffer.from(tag), ...Array.from({ length: count }, () => entry)]).toString('hex');
}

/** The numbers of the listeners of this test, and some that never existed. */
const LISTENERS = [0, 1, 2, 3, 999_999, 0xffff_ffff];

/** @type {Record<string, import('./index').Way>} */
module.exports = {
  'descriptors with frames on the control socket': {
    act: ({ calls, link }) => calls('send', [link.control], READY, 500, 200, KINDS),
    brief: true,
  },
  'descriptors on the lifeline': {
    act: ({ calls, link }) => calls('send', [link.lifeline], '54', 500, 200, KINDS),
  },
  'descriptors with messages that carry none': {
    act: ({ calls, link }) => calls('send', [link.connections], '57', 500, 200, KINDS),
  },
  'more descriptors than a message may have': {
    act: ({ calls, link }) => calls('send', [link.connections], gives('N', 1, 253), 50, 253, 'stream'),
  },
  'fewer descriptors than the message names': {
    act: ({ calls, link }) => calls('send', [link.connections], gives('N', 1, 20), 50, 3, 'stream'),
  },
  'things returned that are no connections': {
    act: async ({ calls, link }) => {
      for (const kind of KINDS.split(',')) {
        for (const listener of LISTENERS) {
          await calls('send', [link.connections], gives('N', listener), 3, 1, kind);
        }
      }
    },
  },
  'its own channel returned as a connection': {
    act: ({ calls, link }) => calls('send', [link.connections], gives('N', 1), 20, 1, 'target'),
    // A process that reads from it takes connections in flight to this worker.
    holds: true,
  },
  'connections returned that were never passed': {
    act: async ({ calls, link }) => {
      for (const tag of ['N', 'F', 'H', 'K']) {
        for (const listener of LISTENERS) {
          await calls('send', [link.connections], gives(tag, listener), 50, 1, 'stream');
        }
      }
    },
    brief: true,
  },
  'connections handed over by the hundred': {
    act: ({ calls, link, forever }) =>
      forever(() => calls('send', [link.connections], gives('H', 1, 32), 20, 32, 'stream')),
  },
  'descriptors on the control socket whose closing blocks': {
    act: ({ calls, link }) => calls('linger-sent', [link.control], READY, 8, 0),
  },
  'descriptors on the lifeline whose closing blocks': {
    act: ({ calls, link }) => calls('linger-sent', [link.lifeline], '54', 8, 0),
  },
  'descriptors on the connection channel whose closing blocks': {
    act: ({ calls, link }) => calls('linger-sent', [link.connections], gives('N', 999_999), 8, 0),
  },
  'descriptors on the control socket whose closing blocks, more than there is room for': {
    act: ({ calls, link, narrow }) => {
      narrow();
      return calls('linger-sent', [link.control], READY, 8, 200);
    },
  },
  'descriptors on the lifeline whose closing blocks, more than there is room for': {
    act: ({ calls, link, narrow }) => {
      narrow();
      return calls('linger-sent', [link.lifeline], '54', 8, 200);
    },
  },
  'descriptors on the connection channel whose closing blocks, more than there is room for': {
    act: ({ calls, link, narrow }) => {
      narrow();
      // It names none of them.
      return calls('linger-sent', [link.connections], Buffer.from('W').toString('hex'), 8, 200);
    },
  },
  'descriptors in flight, read by nobody': {
    act: ({ calls }) => calls('in-flight', [], 15_000),
    brief: true,
  },
  'sockets in flight that hold each other': { act: ({ calls }) => calls('cycles', []) },
  'all descriptors of its own used up': {
    closes: true,
    act: ({ attempt, pause }) => {
      const open = () => require('node:fs').openSync('/dev/null');
      while (attempt(open)) continue;
      return pause(100);
    },
  },
};
