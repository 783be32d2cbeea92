'use strict';

// Workers that share a rate limit and a flag: at most ten requests a minute for each address, across all
// workers, and `POST /maintenance` switches maintenance mode on or off in all workers at once.

const http = require('node:http');
const cluster = require('rcluster');

const { PORT = '3000' } = process.env;

if (cluster.isPrimary) {
  cluster.supervise({ workers: 2 });
} else {
  const hits = cluster.shared('hits', { size: '16MB', eviction: 'lru' });
  const flags = cluster.shared('flags', { size: '1MB' });

  let maintenance = false;
  const follow = async () => {
    for await (const event of flags.watch({ key: 'maintenance' })) {
      if (event.type === 'set') maintenance = event.value;
    }
  };
  void follow();

  const server = http.createServer(async (request, response) => {
    if (request.method === 'POST' && request.url === '/maintenance') {
      await flags.set('maintenance', !maintenance);
      response.end('changed\n');
      return;
    }
    const count = await hits.increment(`${request.socket.remoteAddress}`, 1, { ttl: 60_000 });
    response.statusCode = maintenance ? 503 : count > 10 ? 429 : 200;
    response.end(`request ${count} of this minute, answered by worker ${cluster.worker?.id}\n`);
  });
  server.listen(Number(PORT));
}
