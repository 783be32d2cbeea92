'use strict';

// Two clusters that share one store, as on two machines: a worker of one cluster sets a flag, and all workers
// see it change.
//
//   redis-server --port 6390 &
//   REDIS=redis://127.0.0.1:6390 node examples/redis.js

const { fork } = require('node:child_process');
const cluster = require('rcluster');

const backend = process.env.REDIS ?? 'redis://127.0.0.1:6379';

/**
 * One cluster: a primary with two workers.
 * @param {string} name
 */
function runCluster(name) {
  for (let count = 0; count < 2; count += 1) cluster.fork({ CLUSTER: name });
}

async function runWorker() {
  const flags = cluster.shared('flags', { backend });
  await flags.ready;
  const id = process.pid;
  const hits = await flags.increment('workers');
  console.log(`process ${id} of ${process.env.CLUSTER} is number ${hits}`);
  // The last worker sets the flag, and all others receive the change.
  if (hits % 4 === 0) await flags.set('beta', true);
  for await (const event of flags.watch({ key: 'beta' })) {
    if (event.type !== 'set') continue;
    console.log(`process ${id} of ${process.env.CLUSTER}: ${event.key} is ${event.value}`);
    break;
  }
  process.exit();
}

if (cluster.isWorker) {
  void runWorker();
} else if (process.argv[2] !== undefined) {
  runCluster(process.argv[2]);
} else {
  for (const name of ['one', 'two']) fork(__filename, [name]);
}
