'use strict';

// A configuration file that all workers follow. One worker watches the file and loads it into a shared store
// when it changes. The other workers receive the change, and a worker that starts reads the current values
// from the store. A file that cannot be read or parsed leaves the configuration as it is.
//
//   echo '{ "greeting": "hello" }' > config.json
//   CONFIG=config.json PORT=3000 node examples/config.js

const http = require('node:http');
const cluster = require('rcluster');

const { CONFIG = 'config.json', PORT = '3000' } = process.env;

if (cluster.isPrimary) {
  cluster.supervise({ workers: 2 });
} else {
  const config = cluster.shared('config', { size: '1MB', source: { file: CONFIG } });
  config.on('loadError', (error) => console.error(`${CONFIG} is not used: ${error}`));
  config.on('change', ({ type, key }) => console.log(`worker ${cluster.worker?.id}: ${type} ${key}`));

  const server = http.createServer((_request, response) => {
    const greeting = config.get('greeting') ?? 'not configured';
    response.end(`${greeting}, by worker ${cluster.worker?.id}\n`);
  });
  server.listen(Number(PORT));
}
