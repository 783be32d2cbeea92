'use strict';

// An HTTP server with one worker for each CPU that this process may use. A worker that dies is replaced; if
// it cannot start, the wait between attempts grows. SIGTERM and Ctrl-C let open requests finish.
//
//   PORT=8000 node examples/http.js

const http = require('node:http');

const cluster = require('rcluster');

if (cluster.isPrimary) primary();
else worker();

/** A worker is an ordinary server, without any code for the cluster. */
function worker() {
  http
    .createServer((request, response) => {
      response.end(`worker ${cluster.worker?.id}, process ${process.pid}\n`);
    })
    .listen(Number(process.env.PORT ?? 8000));
}

function primary() {
  const supervisor = cluster.supervise({ log: 'info' });
  cluster.once('listening', (worker, { port }) => {
    console.log(`Listening on http://localhost:${port}/`);
    console.log(`  who answers   curl http://localhost:${port}/   (${supervisor.workers.length} workers)`);
    console.log(`  lose one      kill -9 ${worker.process.pid}   (it is replaced)`);
    console.log(`  stop          Ctrl-C, or kill ${process.pid}`);
  });
}
