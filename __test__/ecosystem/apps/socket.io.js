'use strict';

// As in the manuals of @socket.io/sticky and @socket.io/cluster-adapter: the primary reads the beginning of each request and
// passes its socket to the worker that the client belongs to.

const cluster = require('cluster');
const http = require('node:http');
const { createAdapter, setupPrimary } = require('@socket.io/cluster-adapter');
const { setupMaster, setupWorker } = require('@socket.io/sticky');
const { Server } = require('socket.io');
const { mark, obey } = require('../../../testing/roles.js');

const WORKERS = 3;

if (cluster.isPrimary) {
  const server = http.createServer();
  setupMaster(server, { loadBalancingMethod: 'round-robin' });
  setupPrimary();
  cluster.setupPrimary({ serialization: 'advanced' });
  cluster.on('exit', (worker, code, signal) => mark('exit', { code, signal }));
  let ready = 0;
  cluster.on('message', (worker, message) => {
    if (message !== 'ready' || ++ready < WORKERS) return;
    server.listen(0, '127.0.0.1', () => {
      const pids = Object.values(cluster.workers).map(({ process: { pid } }) => pid);
      mark('listening', { port: server.address().port, pids });
    });
  });
  for (let count = 0; count < WORKERS; count++) cluster.fork();
  obey({
    disconnect() {
      server.close();
      server.closeAllConnections();
      cluster.disconnect();
    },
  });
} else {
  const server = http.createServer();
  const io = new Server(server);
  io.adapter(createAdapter());
  setupWorker(io);
  io.on('connection', (socket) => {
    socket.join(socket.handshake.query.room);
    socket.on('who', (answer) => answer(process.pid));
    socket.on('tell all', (text) => io.emit('told', text));
    socket.on('tell room', (room, text) => io.to(room).emit('told', text));
    socket.on('who is there', async (answer) => answer((await io.fetchSockets()).map(({ id }) => id)));
    socket.on('ask the other workers', (answer) =>
      io.serverSideEmit('name yourself', (error, pids) => answer(error ? String(error) : pids)),
    );
  });
  io.on('name yourself', (answer) => answer(process.pid));
  cluster.worker.on('disconnect', () => process.exit());
  process.send('ready');
}
