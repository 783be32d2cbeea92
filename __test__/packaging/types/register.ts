// With the preload, the built-in module has the members that rcluster adds.

import 'rcluster/register';
import cluster from 'node:cluster';
import * as unprefixed from 'cluster';

cluster.setupPrimary({ exec: 'worker.js', scheduling: 'least-loaded', forward: { port: 80 } });
unprefixed.setupPrimary({ scheduling: 'sticky' });
const count: number = cluster.availableParallelism();
const supervisor = cluster.supervise({ workers: count });
supervisor.reload().catch(console.error);
const slot: number | undefined = cluster.fork().slot;
if (slot === undefined) cluster.worker?.retire('no slot');
console.log(cluster.schedulingStats().workers.length, cluster.SCHED_HOOK.toFixed());
cluster.on('listening', (worker, { port }) => [worker.slot?.toFixed(), port.toFixed()]);

// @ts-expect-error There is no such policy.
cluster.setupPrimary({ scheduling: 'best' });
// @ts-expect-error The settings of the built-in are still checked.
cluster.setupPrimary({ cwd: 1 });
// @ts-expect-error There is no such function.
cluster.supervize();
