'use strict';

// An HTTP server with a worker for each CPU that this process may use.
//
//   PORT=8000 node examples/http.js

const http = require('node:http');

const cluster = require('rcluster');

const PORT = Number(process.env.PORT ?? 8000);

if (cluster.isPrimary) primary();
else worker();

/** A worker is an ordinary server: nothing in it knows of the others. */
function worker() {
  http
    .createServer((request, response) => {
      response.end(`worker ${cluster.worker?.id}, process ${process.pid}\n`);
    })
    .on('error', (failure) => process.send?.({ failure }))
    .listen(PORT);

  // Ctrl-C reaches every process of the terminal. What follows from it is the primary's to say.
  process.on('SIGINT', () => {});
}

function primary() {
  const count = cluster.availableParallelism();
  const started = new Set();
  /** @type {import('rcluster').Worker[]} */
  let last = [];
  let stoppedAt = 0;

  for (let index = 0; index < count; index++) fork();

  cluster.on('listening', (worker, { port }) => {
    started.add(worker.id);
    if (started.size === count) announce(port);
    if (started.size > count) console.log(`Process ${worker.process.pid} takes its place.`);
  });

  cluster.on('message', (worker, { failure }) => {
    if (stoppedAt > 0) return;
    const taken = failure.code === 'EADDRINUSE';
    console.error(
      taken ? `Port ${PORT} is taken: set PORT to another.` : `No way to listen on ${PORT}: ${failure.code}.`,
    );
    stop(1);
  });

  cluster.on('exit', (worker, code, signal) => {
    if (stoppedAt > 0) return;
    console.log(`Process ${worker.process.pid} has ended (${signal ?? code}).`);
    // One that could not even start would do no better the next time.
    if (started.has(worker.id)) fork();
    else stop(1);
  });

  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      if (stoppedAt === 0) {
        console.log('Finishing open requests. A second signal ends them.');
        stop(0);
      } else if (Date.now() - stoppedAt > 500) {
        // Sooner than that it is the same Ctrl-C: npm passes on what the terminal has sent already.
        force();
      }
    });
  }

  function fork() {
    // The primary may write to a worker that has just ended; what follows is the worker's 'exit'.
    cluster.fork().on('error', (error) => console.error(`Worker: ${error.message}`));
  }

  /**
   * The workers accept nothing more, finish what they have begun, and end. Then nothing is left to keep
   * the primary, which ends by itself.
   * @param {number} code
   */
  function stop(code) {
    stoppedAt = Date.now();
    process.exitCode = code;
    last = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    cluster.disconnect();
    setTimeout(force, 10_000).unref();
  }

  function force() {
    process.exitCode = 1;
    for (const worker of last) worker.process.kill('SIGKILL');
  }

  /** @param {number} port */
  function announce(port) {
    const pids = Object.values(cluster.workers ?? {}).map((worker) => worker?.process.pid);
    console.log(`Listening on http://localhost:${port}/`);
    console.log(`  who answers   curl http://localhost:${port}/   (${count} workers: ${pids.join(', ')})`);
    console.log(`  lose one      kill -9 ${pids[0]}   (it is replaced)`);
    console.log(`  stop          Ctrl-C, or kill ${process.pid}`);
  }
}
