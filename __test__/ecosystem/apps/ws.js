'use strict';

const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
server.on('connection', (socket) => {
  socket.send(JSON.stringify({ pid: process.pid }));
  socket.on('message', (data, isBinary) => {
    if (String(data) === 'end') socket.close(4000, 'as asked');
    else socket.send(data, { binary: isBinary });
  });
});
