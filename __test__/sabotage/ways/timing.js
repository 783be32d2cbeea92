'use strict';

// Slowness, and messages at the wrong time.

/** @param {number} ms */
function block(ms) {
  for (const end = Date.now() + ms; Date.now() < end;) continue;
}

/** @type {Record<string, import('./index').Way>} */
module.exports = {
  'its event loop is blocked': { act: () => block(20_000), brief: true },
  'its event loop is blocked most of the time': { act: ({ forever }) => forever(() => (block(30), true)) },
  'it is stopped and continued': { act: ({ calls }) => calls('stutter', [], process.pid, 60, 30) },
  'connections taken from its channel, and kept': {
    act: ({ calls, link, notes }) => calls('steal', [link.connections, notes.fd]),
    policies: 'passing',
    brief: true,
  },
  'connections taken from its channel, and closed': {
    act: ({ calls, link, notes }) => calls('drop', [link.connections, notes.fd]),
    policies: 'passing',
  },
  'its channel looked at all the time': {
    act: ({ calls, link, notes }) => calls('peek', [link.connections, notes.fd]),
    policies: 'passing',
  },
  'the questions of the primary taken away': {
    act: ({ calls, link, notes }) => calls('steal', [link.lifeline, notes.fd]),
  },
  'the answers of the primary taken away': {
    act: ({ calls, link, notes }) => calls('steal', [link.control, notes.fd]),
  },
  'it is stopped, and its page says that it turns': {
    act: async ({ calls, link }) => {
      await calls('claim', [link.page], 2, 1);
      process.kill(process.pid, 'SIGSTOP');
    },
    holds: true,
    brief: true,
  },
  'it is stopped, and its page says that it takes connections': {
    act: async ({ calls, link }) => {
      await calls('claim', [link.page], 0, 1);
      process.kill(process.pid, 'SIGSTOP');
    },
    holds: true,
  },
  'it accepts nothing at its own address': {
    act: ({ server, pause }) => {
      // Its socket still listens, but the event loop does not poll it.
      server.unref();
      block(20_000);
      return pause(0);
    },
    policies: 'forward',
  },
  'it resets what it accepts at its own address': {
    act: ({ server }) => void server.prependListener('connection', (socket) => socket.resetAndDestroy()),
    policies: 'forward',
  },
  'it reads nothing that it accepts': {
    act: ({ server }) => void server.on('connection', (socket) => socket.pause()),
  },
  'it answers with garbage': {
    act: ({ server }) =>
      void server.prependListener('connection', (socket) => socket.end('\0'.repeat(100_000))),
  },
  'it sends without end': {
    act: ({ server }) =>
      // After the app's own listener, so that the client has been recorded.
      void server.on('connection', (socket) => {
        const more = () => {
          while (socket.writable && socket.write(Buffer.alloc(1 << 16))) continue;
        };
        socket.on('drain', more).on('error', () => {});
        more();
      }),
  },
  'it closes its server and listens again all the time': {
    act: ({ server, forever, own, pause }) => {
      const address = server.address();
      const at =
        typeof address === 'string' ? { path: address } : { port: Number(own) || 0, host: '127.0.0.1' };
      server.on('error', () => {});
      return forever(async () => {
        server.close();
        server.listen(at);
        await pause(5);
      });
    },
  },
  'it removes the path of its own address': {
    act: ({ own, attempt }) => {
      if (own.startsWith('/')) attempt(() => require('node:fs').unlinkSync(own));
    },
    policies: 'forward',
    holds: true,
  },
};
