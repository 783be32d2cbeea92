'use strict';

// Attacks on open sockets that a worker shares with the primary: options and flags belong to both.

const SOL_SOCKET = 1;
const O_NONBLOCK = 0o4000;
const O_ASYNC = 0o20000;

/** The sockets of the link. @type {[string, 'control' | 'connections' | 'lifeline'][]} */
const LINK = [
  ['control socket', 'control'],
  ['connection channel', 'connections'],
  ['lifeline', 'lifeline'],
];

/** Options of a socket: their numbers and a value. @type {[string, number, number][]} */
const OPTIONS = [
  ['credentials', 16, 1], // SO_PASSCRED
  ['security labels', 34, 1], // SO_PASSSEC
  ['pidfds', 76, 1], // SO_PASSPIDFD
  ['timestamps', 35, 1], // SO_TIMESTAMPNS
  ['no descriptors', 83, 0], // SO_PASSRIGHTS
  ['a tiny receive buffer', 8, 1], // SO_RCVBUF
  ['a tiny send buffer', 7, 1], // SO_SNDBUF
  ['a peek offset', 42, 3], // SO_PEEK_OFF
  ['a low water mark', 18, 1_000_000], // SO_RCVLOWAT
];

/** @type {Record<string, import('./index').Way>} */
const ways = {};

for (const [name, where] of LINK) {
  for (const [half, how] of /** @type {const} */ ([
    ['reading', 0],
    ['writing', 1],
    ['reading and writing', 2],
  ])) {
    ways[`the ${name} shut down for ${half}`] = {
      act: ({ calls, link }) => calls('shutdown', [link[where]], how),
      brief: where === 'connections' && how === 2,
    };
  }
  ways[`the ${name} blocks`] = {
    act: ({ calls, link }) => calls('flags', [link[where]], 0),
    brief: where === 'control',
  };
  ways[`the ${name} raises signals`] = {
    act: ({ calls, link }) => calls('flags', [link[where]], O_ASYNC | O_NONBLOCK),
  };
  ways[`the ${name} lingers`] = { act: ({ calls, link }) => calls('linger', [link[where]], 600) };
  ways[`the ${name} has options set`] = {
    // A kernel that does not know one of them refuses it.
    act: async ({ calls, link }) => {
      for (const [, option, value] of OPTIONS) {
        await calls('option', [link[where]], SOL_SOCKET, option, value).catch(() => {});
      }
    },
  };
  ways[`the ${name} closed`] = {
    act: ({ attempt, link }) => attempt(() => require('node:fs').closeSync(link[where])),
  };
}
for (const [name, option, value] of OPTIONS) {
  ways[`the connection channel with ${name}`] = {
    act: ({ calls, link }) => calls('option', [link.connections], SOL_SOCKET, option, value).catch(() => {}),
  };
}

/** Acts on the listening sockets of this worker. @param {import('../kit').Kit} kit @param {string} what @param {...number} args */
async function onListening({ calls, listening }, what, ...args) {
  const sockets = listening();
  if (sockets.length === 0) throw new Error('no listening socket');
  for (const fd of sockets) await calls(what, [fd], ...args);
}

Object.assign(ways, {
  'the listening socket shut down': {
    act: (/** @type {import('../kit').Kit} */ kit) => onListening(kit, 'shutdown', 2),
    policies: 'kernel',
    holds: true,
  },
  'the listening socket blocks': {
    act: async (/** @type {import('../kit').Kit} */ kit) => {
      await onListening(kit, 'flags', 0);
      // Makes the primary accept on behalf of the worker.
      process.kill(process.pid, 'SIGSTOP');
    },
    policies: 'listening',
    holds: true,
  },
  'the listening socket lingers': {
    act: (/** @type {import('../kit').Kit} */ kit) => onListening(kit, 'linger', 600),
    policies: 'listening',
    brief: true,
  },
  'the listening socket with a tiny buffer': {
    act: (/** @type {import('../kit').Kit} */ kit) => onListening(kit, 'option', SOL_SOCKET, 8, 1),
    policies: 'kernel',
    holds: true,
  },
  'the listening socket closed': {
    act: (/** @type {import('../kit').Kit} */ { listening, attempt }) => {
      for (const fd of listening()) attempt(() => require('node:fs').closeSync(fd));
    },
    policies: 'listening',
    holds: true,
  },
  'servers at all descriptors of the primary': {
    // A server that gets one listens on a socket of the primary or of another worker, and ends its clients.
    act: async () => {
      for (let fd = 3; fd < 300; fd++) {
        const server = require('node:net').createServer((socket) => socket.destroy());
        await new Promise((resolve) =>
          server.once('error', resolve).listen({ fd }, () => resolve(undefined)),
        );
      }
    },
    brief: true,
  },
});

module.exports = ways;
