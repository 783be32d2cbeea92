'use strict';

// A chat for line-based clients such as `nc localhost 3000`. The clients are connected to different workers,
// and each one receives what all others write. `/who` asks every worker how many clients it has.

const net = require('node:net');
const cluster = require('rcluster');

const { PORT = '3000' } = process.env;

if (cluster.isPrimary) {
  cluster.supervise({ workers: 3 });
} else {
  /** @type {Set<net.Socket>} */
  const clients = new Set();
  /** @param {string} text */
  const say = (text) => clients.forEach((client) => client.write(`${text}\n`));

  const room = new cluster.BroadcastChannel('room');
  room.addEventListener('message', ({ data }) => say(data));

  cluster.handle('count', () => clients.size);

  const who = async () => {
    const results = await cluster.request('all', 'count', undefined, { timeout: 1000 });
    return results.map(({ worker, value, reason }) => `worker ${worker}: ${value ?? reason.code}`).join(', ');
  };

  const server = net.createServer((client) => {
    clients.add(client);
    client.setEncoding('utf8');
    let rest = '';
    client.on('data', async (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '/who') client.write(`${await who()}\n`);
        else {
          say(line);
          room.postMessage(line);
        }
      }
    });
    client.on('error', () => client.destroy());
    client.on('close', () => clients.delete(client));
  });
  server.listen(Number(PORT));
}
