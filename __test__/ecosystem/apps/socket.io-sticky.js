'use strict';

// A chat of four workers behind one port, with long-polling only and without a sticky package.
//
// SCHEDULING: the option of setupPrimary(), as JSON. IDS: whether the ids of sessions lead back to their worker.

const http = require('node:http');
const { cluster, play, mark, obey } = require('../../../testing/roles.js');

play({
  primary() {
    let listening = 0;
    cluster.on('listening', (_worker, { port, address }) => {
      if (++listening === 4) mark('listening', { port, host: address });
    });
    obey();
    cluster.setupPrimary({ scheduling: JSON.parse(process.env.SCHEDULING) });
    for (let count = 0; count < 4; count++) cluster.fork();
  },
  worker() {
    const { Server } = require('socket.io');
    const server = http.createServer();
    const io = new Server(server, { transports: ['polling'], maxHttpBufferSize: 4e6 });
    if (process.env.IDS) io.engine.generateId = () => /** @type {any} */ (cluster).stickyId();
    io.on('connection', (socket) => {
      socket.on('measure', (data, answer) =>
        answer({ worker: cluster.worker.id, length: data.length, sum: data.reduce((a, b) => a + b, 0) }),
      );
    });
    server.listen(0, '127.0.0.1');
  },
});
