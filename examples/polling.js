'use strict';

// The same prices as in source.js, but with polling: each of the three workers loads all prices for itself
// every two seconds. The database does three times the work, and workers may disagree about a price for up to
// two seconds.

const http = require('node:http');
const cluster = require('rcluster');

const { PORT = '3000' } = process.env;

/** A placeholder for a database, a file or a request to another service. */
async function loadPrices() {
  return { apples: Math.ceil(Math.random() * 10), pears: 5 };
}

async function serve() {
  const prices = cluster.shared('prices', { source: { load: loadPrices, polling: 2_000 } });
  await prices.ready;

  const server = http.createServer((_request, response) => {
    const { age } = prices.stats().source ?? {};
    response.end(
      `apples ${prices.get('apples')}, pears ${prices.get('pears')}: loaded ${age} ms ago by ` +
        `worker ${cluster.worker?.id} for itself\n`,
    );
  });
  server.listen(Number(PORT));
}

if (cluster.isPrimary) cluster.supervise({ workers: 3 });
else void serve();
