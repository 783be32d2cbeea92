'use strict';

// Workers that listen on ports of their own, behind one port of the primary: for programs that need their own
// listener, and for programs that are not Node.
//
//   PORT=8000 node examples/own-port.js             workers in Node
//   PORT=8000 node examples/own-port.js python3     workers in Python

const http = require('node:http');
const os = require('node:os');

const cluster = require('rcluster');

if (cluster.isPrimary) primary();
else worker();

/** An ordinary server that listens on the port in its environment. */
function worker() {
  http.createServer((request, response) => response.end(`process ${process.pid}\n`)).listen(process.env.PORT);
}

function primary() {
  // Clients connect here. Each worker finds its own address in PORT: a Unix socket, or a port if it is not
  // Node.
  cluster.setupPrimary({ forward: { port: Number(process.env.PORT ?? 8000) } });

  if (process.argv[2] === 'python3') {
    cluster.setupPrimary({
      execPath: 'sh',
      execArgv: ['-c'],
      exec: 'exec python3 -m http.server --bind 127.0.0.1 "$PORT"',
      args: [],
      cwd: os.tmpdir(),
    });
  }

  for (let i = 0; i < cluster.availableParallelism(); i++) cluster.fork();
  cluster.on('exit', (worker, code, signal) => {
    if (worker.exitedAfterDisconnect) return;
    console.log(`Process ${worker.process.pid} has ended (${signal ?? code}).`);
    // The delay keeps a worker that cannot start from being restarted in a tight loop.
    setTimeout(() => cluster.fork(), 500);
  });

  const [{ address, workers }] = cluster.forwarding();
  console.log(`Forwarding from ${JSON.stringify(address)} to ${workers.length} workers.`);
}
