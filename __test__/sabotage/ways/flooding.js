'use strict';

// Floods of every kind.

const dgram = require('node:dgram');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');

const hex = (/** @type {string} */ text) => Buffer.from(text).toString('hex');

/** A listen request, with data that is large when it is parsed. @param {string} directory @param {number} seq */
function query(directory, seq) {
  const data = `[${'[],'.repeat(20_000)}[]]`;
  const address = path.join(directory, `flood-${seq}`);
  return `{"act":"query","seq":${seq},"index":0,"address":"${address}","port":-1,"addressType":-1,"backlog":5,"data":${data}}`;
}

const RETIRE = JSON.stringify({ act: 'retire', reason: 'x'.repeat(64), detail: 'x'.repeat(4000) });

/** @type {Record<string, import('./index').Way>} */
module.exports = {
  'wake-ups on the connection channel': {
    act: ({ calls, link }) => calls('flood', [link.connections], '57', 2),
  },
  'room, and no room, on the connection channel': {
    act: async ({ calls, link }) => {
      await calls('flood', [link.connections], '5201000000', 1);
      await calls('flood', [link.connections], '5801000000', 1);
    },
  },
  'frames on the control socket': {
    act: ({ calls, link }) => calls('flood', [link.control], hex('{"act":"ready"}'), 2),
  },
  'closed servers on the control socket': {
    act: ({ calls, link }) => calls('flood', [link.control], hex('{"act":"close","key":77}'), 2),
  },
  'retirements on the control socket': {
    act: ({ calls, link }) => calls('flood', [link.control], hex(RETIRE), 2),
  },
  'stacks on the lifeline': {
    act: ({ calls, link }) => calls('flood', [link.lifeline], hex(`T${'x'.repeat(8000)}`), 2),
  },
  'questions with large data, whose answers it does not read': {
    act: ({ write, link, forever, pause }) =>
      forever(async (round) => {
        if (!write(link.control, query(process.env.RCLUSTER_TMP, 5 + round))) await pause(2);
        return round < 5000;
      }),
    brief: true,
  },
  'thousands of servers': {
    act: ({ forever }) =>
      forever((round) => {
        const server = net.createServer();
        server.on('error', () => {}).listen(0, '127.0.0.1');
        return round < 5000;
      }),
  },
  'servers that open and close': {
    act: ({ forever }) =>
      forever(
        () =>
          new Promise((resolve) => {
            const server = http.createServer();
            server.on('error', resolve).listen(0, '127.0.0.1', () => server.close(() => resolve(undefined)));
          }),
      ),
  },
  'sockets for datagrams': {
    act: ({ forever }) =>
      forever((round) => {
        dgram
          .createSocket('udp4')
          .on('error', () => {})
          .bind(0, '127.0.0.1');
        return round < 2000;
      }),
  },
  'messages on Node’s own channel': {
    act: ({ forever }) =>
      forever(() => {
        if (!process.connected) return false;
        for (let count = 0; count < 50; count++) process.send({ flood: 'x'.repeat(1000) }, () => {});
        return true;
      }),
  },
  'handles on Node’s own channel': {
    act: ({ forever }) =>
      forever((round) => {
        if (!process.connected) return false;
        const server = net.createServer();
        process.send({ handle: round }, new net.Socket(), () => server.close());
        return round < 3000;
      }),
  },
  'a message that never ends on Node’s own channel': {
    act: ({ write, link, forever, pause }) =>
      forever(async (round) => {
        if (!write(link.channel, 'x'.repeat(1 << 16))) await pause(1);
        // The maximum that this test may leave in the primary.
        return round < 300;
      }),
  },
  'connections to its own cluster': {
    act: ({ server, forever, pause }) => {
      const address = /** @type {net.AddressInfo} */ (server.address());
      if (typeof address === 'string') return undefined;
      let open = 0;
      return forever(async () => {
        if (open > 200) return pause(5).then(() => true);
        open++;
        // From an address that no client has.
        net
          .connect({ port: address.port, host: '127.0.0.1', localAddress: '127.0.0.99' })
          .on('error', () => {})
          .on('close', () => open--)
          .end('GET /saboteur/0/10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
          .resume();
        return true;
      });
    },
  },
};
