'use strict';

// Prices that are loaded once for the whole cluster: one of three workers loads them every two seconds, and
// the others receive only the changes. `GET /` shows the prices that the answering worker has; `kill -9` the
// worker that loads to see another one take over.

const http = require('node:http');
const cluster = require('rcluster');

const { PORT = '3000' } = process.env;

/** A placeholder for a database, a file or a request to another service. */
async function loadPrices() {
  return { apples: Math.ceil(Math.random() * 10), pears: 5 };
}

async function serve() {
  const prices = cluster.shared('prices', { size: '1MB', source: { load: loadPrices, every: 2_000 } });
  prices.on('change', ({ type, key, value }) => {
    console.log(`worker ${cluster.worker?.id} received: ${type} ${key} ${value}`);
  });
  // Resolves once a worker has loaded the prices for the first time.
  await prices.ready;

  const server = http.createServer((_request, response) => {
    const { age, here } = prices.stats().source ?? {};
    response.end(
      `apples ${prices.get('apples')}, pears ${prices.get('pears')}: loaded ${age} ms ago by ` +
        `${here ? 'this' : 'another'} worker, and answered by worker ${cluster.worker?.id}\n`,
    );
  });
  server.listen(Number(PORT));
}

if (cluster.isPrimary) cluster.supervise({ workers: 3 });
else void serve();
