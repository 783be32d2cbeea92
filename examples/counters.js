'use strict';

// Counters that all workers share. `GET /live` streams them as server-sent events, whichever worker the
// client is connected to. Every other request increments the counter of its path.
//
//   PORT=3000 node examples/counters.js
//   curl -N localhost:3000/live

const http = require('node:http');
const cluster = require('rcluster');

const { PORT = '3000' } = process.env;

if (cluster.isPrimary) {
  cluster.supervise({ workers: 2 });
} else {
  const store = cluster.shared('counters', { size: '4MB' });

  /** @param {http.ServerResponse} response */
  const follow = async (response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.flushHeaders();
    const controller = new AbortController();
    response.on('close', () => controller.abort());
    try {
      // A slow client gets only the newest counts, and takes no memory.
      for await (const event of store.watch({ prefix: 'path:', signal: controller.signal })) {
        if (event.type !== 'set') continue;
        const data = JSON.stringify({ path: event.key.slice('path:'.length), count: event.value });
        if (!response.write(`data: ${data}\n\n`)) await drained(response, controller.signal);
      }
    } catch (error) {
      if (!controller.signal.aborted) throw error;
    }
  };

  /**
   * @param {http.ServerResponse} response
   * @param {AbortSignal} signal
   */
  const drained = (response, signal) =>
    new Promise((resolve) => {
      response.once('drain', resolve);
      signal.addEventListener('abort', resolve, { once: true });
    });

  const server = http.createServer(async (request, response) => {
    if (request.url === '/live') {
      await follow(response);
      return;
    }
    const count = await store.increment(`path:${request.url}`);
    response.end(`${count}, by worker ${cluster.worker?.id}\n`);
  });
  server.listen(Number(PORT));
}
