'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const server = http.createServer((request, response) => response.end(String(process.pid)));
server.listen(0, '127.0.0.1', () => {
  fs.writeFileSync(path.join(process.env.PM2_HOME, 'port'), String(server.address().port));
});

// What pm2 asks of an app that is to be reloaded without a loss: it signals a worker to go as soon as another one listens.
process.on('SIGINT', () => server.close(() => process.exit()));
