import cluster from 'rcluster';

// Misspelt names are errors, and the facts of events are typed.

const supervisor = cluster.supervise({
  workers: 2,
  log: ({ name, level, message }) => console.log(name, level, message),
});

supervisor.on('restart', ({ worker, pid, slot, reason }) => console.log(worker, pid, slot, reason));
supervisor.once('gave-up', ({ scope, worker }) => console.log(scope === 'start-up', worker));
supervisor.off('ready', () => {});
// @ts-expect-error There is no such event.
supervisor.on('restrat', () => {});
// @ts-expect-error There is no such event.
supervisor.once('unresponsible', () => {});
// @ts-expect-error There is no such event.
supervisor.addListener('gaveUp', () => {});
// @ts-expect-error There is no such event.
supervisor.emit('restrat');
// @ts-expect-error There is no such fact.
supervisor.on('ready', ({ bootTime }) => console.log(bootTime));
// @ts-expect-error There is no such option.
cluster.supervise({ worker: 2 });
// @ts-expect-error There is no such level.
cluster.supervise({ log: 'debug' });
// @ts-expect-error There is no such option.
void supervisor.reload({ concurency: 2 });

const [first] = supervisor.stats().slots;
const figures: (number | null)[] = [first.pid, first.memory, first.uptime, first.utilization];
const reason: string | undefined = first.lastExit?.reason;
console.log(figures, reason);
