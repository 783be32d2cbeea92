'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const server = http.createServer((request, response) => response.end(String(process.pid)));
server.listen(0, '127.0.0.1', () => {
  fs.writeFileSync(path.join(process.env.PM2_HOME, 'port'), String(server.address().port));
});
