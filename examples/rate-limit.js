'use strict';

// Ten requests a minute for each address, across all workers. Needs the packages express and
// express-rate-limit.
//
//   PORT=3000 node examples/rate-limit.js

const express = require('express');
const { rateLimit } = require('express-rate-limit');
const cluster = require('rcluster');
const { RateLimitStore } = require('rcluster/express-rate-limit');

const { PORT = '3000' } = process.env;

if (cluster.isPrimary) {
  cluster.supervise({ workers: 2 });
} else {
  const app = express();
  const store = new RateLimitStore();
  app.use(rateLimit({ windowMs: 60_000, limit: 10, standardHeaders: 'draft-8', store }));
  app.get('/', (_request, response) => {
    response.send(`answered by worker ${cluster.worker?.id}\n`);
  });
  app.listen(Number(PORT));
}
