'use strict';

// Three workers, one of which does the work that must be done once: it counts the seconds. When it ends,
// another one continues. `GET /` shows which worker leads; `kill -9` that worker to see another one take
// over.

const http = require('node:http');
const cluster = require('rcluster');

const { PORT = '3000' } = process.env;

if (cluster.isPrimary) {
  cluster.supervise({ workers: 3 });
} else {
  const store = cluster.shared('leader', { size: '1MB' });

  cluster.lead('seconds', async ({ signal, token }) => {
    await store.set('leader', { worker: cluster.worker?.id, pid: process.pid, token });
    const timer = setInterval(() => void store.increment('seconds'), 1000);
    signal.addEventListener('abort', () => clearInterval(timer));
  });

  const server = http.createServer((_request, response) => {
    const { worker, pid } = store.get('leader') ?? {};
    response.end(
      `worker ${worker} (pid ${pid}) leads; ${store.get('seconds') ?? 0} seconds have been counted\n`,
    );
  });
  server.listen(Number(PORT));
}
