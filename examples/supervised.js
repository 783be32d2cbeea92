'use strict';

// A supervised cluster. Try these while it serves:
//
//   PORT=8000 node examples/supervised.js
//
//   curl localhost:8000/          shows which worker answers
//   curl localhost:8000/throw     an uncaught exception: this request gets a 500, the worker is replaced and drains
//   curl localhost:8000/hang      an endless loop: the worker is replaced, and the primary prints where it is blocked
//   curl localhost:8000/exit      an exit: the worker is replaced
//   kill -HUP <primary>           new code and a new environment, without downtime
//   kill -TTIN, -TTOU <primary>   one worker more, or less
//   kill <primary>, or Ctrl-C     a clean stop

const http = require('node:http');

const cluster = require('rcluster');

if (cluster.isPrimary) primary();
else worker();

function primary() {
  const supervisor = cluster.supervise({
    workers: 2,
    // A worker whose event loop is blocked for longer than this is replaced.
    unresponsiveAfter: 3000,
    drainTimeout: 5000,
    recycle: { memory: 512 * 1024 * 1024 },
    // The listeners below print the events instead.
    log: false,
  });

  const tell =
    (/** @type {string} */ name) =>
    (/** @type {any} */ { stack, detail, ...facts }) => {
      console.log(name, JSON.stringify(facts));
      if (stack || detail) console.log(String(stack || detail).replaceAll(/^/gm, '    '));
    };
  for (const name of /** @type {const} */ (['spawn', 'ready', 'restart', 'backoff', 'gave-up', 'retire'])) {
    supervisor.on(name, tell(name));
  }
  for (const name of /** @type {const} */ ([
    'drain-timeout',
    'unresponsive',
    'recycle',
    'reload',
    'shutdown',
  ])) {
    supervisor.on(name, tell(name));
  }
  cluster.once('listening', (_, { port }) => {
    console.log(`Listening on http://localhost:${port}/, primary ${process.pid}`);
  });

  process.on('SIGHUP', () => supervisor.reload().catch((error) => console.error(error.message)));
  const scale = (/** @type {number} */ by) => () =>
    supervisor
      .scale(Math.max(1, supervisor.stats().workers + by))
      .catch((error) => console.error(error.message));
  process.on('SIGTTIN', scale(1));
  process.on('SIGTTOU', scale(-1));
}

function worker() {
  /** @type {Record<string, () => void>} */
  const pages = {
    '/throw': () => {
      throw new Error('thrown by a request');
    },
    '/hang': () => {
      for (;;);
    },
    '/exit': () => process.exit(1),
  };
  http
    .createServer((request, response) => {
      pages[request.url ?? '']?.();
      response.end(`slot ${cluster.worker?.slot}, process ${process.pid}\n`);
    })
    .listen(Number(process.env.PORT ?? 8000));
}
