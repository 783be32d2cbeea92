'use strict';

// Attacks on its link, and on Node's own channel.

const { randomBytes } = require('node:crypto');

/** @param {number} most */
const random = (most) => randomBytes(1 + Math.floor(Math.random() * most));

/** The number of repetitions: enough for one message to be read while another one is incomplete. */
const OFTEN = 100;

/**
 * @param {keyof import('../kit').Link} where
 * @param {(count: number) => string | Buffer} make
 * @returns {import('./index').Way['act']}
 */
const writes = (where, make) => (kit) => {
  for (let count = 0; count < OFTEN; count++) kit.write(kit.link[where], make(count));
};

const WRONG_FRAMES = [
  '{}',
  '[]',
  'null',
  '{"act":"nonsense"}',
  '{"act":"hello","version":99}',
  '{"act":"close","key":"?"}',
  '{"act":"listening","key":-1}',
  '{"act":"query","seq":1e99,"index":0}',
];

/** The claimed types of a handle. */
const TYPES = [
  'net.Socket',
  'net.Server',
  'net.Native',
  'dgram.Socket',
  'dgram.Native',
  'nonsense',
  '__proto__',
];

/** Nested as deep as fits. */
const DEEP = '['.repeat(30_000);

/** @type {Record<string, import('./index').Way>} */
module.exports = {
  'garbage on the control socket': { act: writes('control', () => random(500)), noticed: true, brief: true },
  'half a frame on the control socket': { act: writes('control', () => '{"act":'), noticed: true },
  'wrong frames on the control socket': {
    act: writes('control', (count) => WRONG_FRAMES[count % WRONG_FRAMES.length]),
    noticed: true,
  },
  'deeply nested frames on the control socket': { act: writes('control', () => DEEP), noticed: true },
  'long frames on the control socket': {
    act: writes('control', () => Buffer.alloc(100_000, 'x')),
    noticed: true,
  },
  'empty packets on the control socket': {
    act: ({ calls, link }) => calls('send', [link.control], '', OFTEN),
  },
  'frames out of order on the control socket': {
    act: writes(
      'control',
      (count) => ['{"act":"hello","version":1}', '{"act":"leaving"}', '{"act":"ready"}'][count % 3],
    ),
  },
  'listeners of others closed and told to listen': {
    act: writes('control', (count) => `{"act":"${count % 2 ? 'close' : 'listening'}","key":${count}}`),
  },
  'garbage on the control socket, and the process stopped': {
    act(kit) {
      kit.write(kit.link.control, 'garbage');
      process.kill(process.pid, 'SIGSTOP');
    },
    noticed: true,
  },
  'garbage on the connection channel': {
    act: writes('connections', () => random(200)),
    noticed: true,
    brief: true,
  },
  'an empty packet on the connection channel': {
    act: ({ calls, link }) => calls('send', [link.connections], '', 1),
  },
  'messages of the primary on the connection channel': {
    act: writes('connections', (count) => ['C', 'P'][count % 2]),
  },
  'room at listeners of others': {
    act: writes('connections', (count) => {
      const bytes = Buffer.from('R0000');
      bytes.writeUInt32LE(count, 1);
      return bytes;
    }),
  },
  'random messages with random descriptors on the connection channel': {
    act: ({ calls, link }) => calls('garbage', [link.connections], 500, 7),
    brief: true,
  },
  'random messages with random descriptors on the control socket': {
    act: ({ calls, link }) => calls('garbage', [link.control], 500, 7),
  },
  'random messages with random descriptors on the lifeline': {
    act: ({ calls, link }) => calls('garbage', [link.lifeline], 500, 7),
  },
  'garbage on the lifeline': { act: writes('lifeline', () => random(500)) },
  'stacks that nobody has asked for': { act: writes('lifeline', () => `T${'x'.repeat(16_000)}`) },
  "garbage on Node's own channel": { act: writes('channel', () => 'no JSON\n'), noticed: true, brief: true },
  "binary garbage on Node's own channel": {
    act: writes('channel', () => Buffer.concat([random(500), Buffer.from('\n')])),
  },
  "values on Node's own channel": {
    act: writes('channel', (count) => `${['null', '0', '"x"', '[]', 'true', '{}'][count % 6]}\n`),
  },
  "handles on Node's own channel that do not come": {
    act: writes('channel', (count) => {
      const type = TYPES[count % TYPES.length];
      return `${JSON.stringify({ cmd: 'NODE_HANDLE', type, msg: {} })}\n`;
    }),
  },
  "handles on Node's own channel that are something else": {
    act: async ({ calls, link }) => {
      for (const type of TYPES) {
        for (const kind of [
          'tcp',
          'stream',
          'ended',
          'listening',
          'udp',
          'pipe',
          'memory',
          'packets',
          'netlink',
        ]) {
          const message = JSON.stringify({ cmd: 'NODE_HANDLE', type, dgramType: 'udp4', key: 'x', msg: {} });
          await calls('send', [link.channel], Buffer.from(`${message}\n`).toString('hex'), 3, 1, kind);
        }
      }
    },
  },
  "servers on Node's own channel that cannot listen": {
    act: ({ calls, link }) => {
      const message = JSON.stringify({ cmd: 'NODE_HANDLE', type: 'net.Server', msg: {} });
      return calls('send', [link.channel], Buffer.from(`${message}\n`).toString('hex'), 3, 1, 'stream');
    },
    noticed: true,
  },
  "sockets on Node's own channel that fail": {
    act: ({ calls, link }) => {
      const message = JSON.stringify({ cmd: 'NODE_HANDLE', type: 'net.Socket', msg: {} });
      return calls(
        'send',
        [link.channel],
        Buffer.from(`${message}\n`).toString('hex'),
        3,
        1,
        'tcp,listening',
      );
    },
    brief: true,
  },
  "descriptors on Node's own channel": {
    act: ({ calls, link }) =>
      calls('send', [link.channel], Buffer.from('{}\n').toString('hex'), 200, 60, 'pipe,udp,tcp'),
  },
  "handles on Node's own channel without a message": {
    act: writes('channel', () => '{"cmd":"NODE_HANDLE"}\n'),
  },
  "answers on Node's own channel to nothing": {
    act: writes('channel', (count) => `{"cmd":"NODE_HANDLE_${count % 2 ? 'ACK' : 'NACK'}"}\n`),
  },
  "socket lists on Node's own channel": {
    act: writes('channel', (count) => {
      const cmd = [
        'NODE_SOCKET_NOTIFY_CLOSE',
        'NODE_SOCKET_GET_COUNT',
        'NODE_SOCKET_ALL_CLOSED',
        'NODE_SOCKET_COUNT',
      ];
      return `${JSON.stringify({ cmd: cmd[count % 4], key: 'x' })}\n`;
    }),
  },
  "wrong cluster messages on Node's own channel": {
    act: writes('channel', (count) => {
      const act = [
        'online',
        'listening',
        'close',
        'exitedAfterDisconnect',
        'queryServer',
        'disconnect',
        '__proto__',
      ];
      return `${JSON.stringify({ cmd: 'NODE_CLUSTER', act: act[count % 7], seq: {}, ack: count, address: {}, port: [] })}\n`;
    }),
  },
};
