'use strict';

const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');

const server = http.createServer((request, response) => response.end(String(process.pid)));
server.listen(0, '127.0.0.1', () => {
  // Whoever sees the file sees all of it.
  const file = path.join(process.env.PM2_HOME, 'port');
  fs.writeFileSync(`${file}.${process.pid}`, String(server.address().port));
  fs.renameSync(`${file}.${process.pid}`, file);
});

// What pm2 requires of an app for a reload without loss: it signals a worker to exit as soon as another one
// listens.
// From Node 26 on, http's own close() ends connections whose request has not arrived yet, so it is not used.
process.on('SIGINT', () => net.Server.prototype.close.call(server, () => process.exit()));
