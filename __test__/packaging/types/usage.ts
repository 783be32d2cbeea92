// The forms in which a program imports and uses the package.

import cluster, { Worker, availableParallelism, fork, isPrimary, setupPrimary, workers } from 'rcluster';
import type { Address, Cluster, ClusterSettings } from 'rcluster';
import * as namespace from 'rcluster';
import 'rcluster/register';

const settings: ClusterSettings = {
  exec: 'worker.js',
  args: ['--verbose'] as const,
  stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  inspectPort: () => 9230,
  serialization: 'advanced',
};
setupPrimary(settings);

const all: Cluster = cluster;
const primary: boolean = isPrimary && namespace.isPrimary && !all.isWorker;
const count: number = availableParallelism();
const worker: Worker = fork({ ROLE: 'web', COUNT: count });
const listed: Worker | undefined = workers?.[worker.id];
const sent: boolean = worker.send(
  { primary, listed: listed !== undefined },
  (error: Error | null) => error?.message,
);

// Listeners know the types of their arguments, and each method returns its object.
cluster
  .on('exit', (dead, code, signal) => console.log(dead.id, code.toFixed(), signal.toLowerCase(), sent))
  .once('listening', (_worker, address) => address.port.toFixed())
  .on('setup', (current) => current.silent)
  .on('an event of the app', (...args) => args.length);
worker
  .on('listening', (address: Address) => address.addressType)
  .on('message', (message, handle) => worker.send(message, handle))
  .on('error', (error) => error.message)
  .disconnect()
  .kill('SIGTERM');
new Worker({ id: 3, state: 'none' }).isDead();
cluster.schedulingPolicy = cluster.SCHED_NONE;
cluster.disconnect(() => {});
cluster.emit('message', worker, 'hello', undefined);

// In a worker.
cluster.worker?.on('retire', ({ reason, deadline }) => [reason.length, deadline?.toFixed()]);
cluster.worker?.on('promote', ({ slot }) => slot.toFixed());
const slot: number | undefined = cluster.worker?.slot;
if (slot === undefined) cluster.worker?.retire('no slot');
else cluster.worker?.ready();

// Members that the built-in lacks.
setupPrimary({ scheduling: 'least-loaded' });
setupPrimary({
  scheduling: {
    policy: 'round-robin',
    slowStart: 1000,
    overload: { queue: 10, deadline: 500, action: { status: 503, retryAfter: 1, body: 'later' } },
    listeners: { 8080: { policy: 'sticky', sticky: { by: 'cookie', name: 'id' } }, '/run/app': 'kernel' },
  },
});
cluster.schedulingPolicy = cluster.SCHED_LEAST_CONNECTIONS;
const shed: number = cluster
  .schedulingStats()
  .listeners.reduce((sum, listener) => sum + (listener.shed ?? 0), 0);
const slots: (number | null)[] = cluster.schedulingStats().workers.map(({ slot }) => slot);
console.log(shed, slots, cluster.stickyId().length);

const locked: Promise<number> = cluster.locks.request('name', async (lock: cluster.Lock) => lock.token);
const available = cluster.locks.request('name', { ifAvailable: true }, (lock) => lock?.mode);
const waits = cluster.locks.request(
  'name',
  { mode: 'shared', signal: new AbortController().signal },
  (lock) => lock.name,
);
const leased: Promise<boolean> = cluster.locks.request(
  'name',
  { scope: 'all' },
  (lock) => lock.signal.aborted,
);
const leasable = cluster.locks.request(
  'name',
  { scope: 'all', ifAvailable: true },
  (lock) => lock?.signal.aborted,
);
const snapshot: Promise<cluster.LockSnapshot> = cluster.locks.query();
const leader: cluster.Leadership = cluster.lead(
  'name',
  async ({ signal, token }) => signal.aborted || token > 1,
);
void [
  locked,
  available,
  waits,
  leased,
  leasable,
  snapshot,
  leader.leading,
  leader.token,
  leader.done,
  leader.stop(),
];

const shared: cluster.SharedStore = cluster.shared('store', { size: '1MB', eviction: 'lru' });
const revised: Promise<cluster.SharedResult> = shared.set('key', { a: 1 }, { ttl: 5, ifAbsent: true });
const made: Promise<number> = shared.getOrCreate('key', async ({ signal }) => (signal.aborted ? 1 : 2), {
  signal: AbortSignal.timeout(5),
  ttl: 5,
  grace: 5,
});
void made;
const counted: Promise<number> = shared.increment('n', 2, { initial: 1, ttl: 1000 });
const moved = shared.atomic().check('key', 1).set('other', null).delete('key').increment('n').commit();
console.log(
  shared.get<number>('n')?.toFixed(),
  shared.entry('n')?.revision,
  shared.keys().revision,
  revised,
  counted,
  moved,
);
const typed = cluster.shared<{ name: string }>('users');
const name: string | undefined = typed.get('a')?.name;
void [name, typed.set('a', { name: 'x' }), typed.atomic().set('b', { name: 'y' }).commit()];
void typed.getOrCreate('c', async () => ({ name: 'z' })).then((user) => user.name.trim());
typed.on('change', ({ value }) => value?.name.trim());
// @ts-expect-error the values of this store have a type
void typed.set('a', 5);
// @ts-expect-error
typed.atomic().set('a', 5);
// @ts-expect-error
void typed.getOrCreate('c', () => 5);
async function follow(): Promise<void> {
  for await (const event of shared.watch<number>({ prefix: 'n', history: true })) {
    if (event.type === 'set') console.log(event.value.toFixed());
    if (event.type === 'clear') console.log(event.prefix, event.revision);
  }
}
void follow();
const sourced = cluster.shared('sourced', {
  source: { load: async ({ signal }) => (signal.aborted ? [] : [{ id: 'a' }]), every: 5, key: 'id' },
});
const filed: cluster.SharedStore = cluster.shared('filed', { source: { file: 'config.json' } });
const polled: cluster.PolledStore = cluster.shared('polled', {
  source: { load: () => new Map([['a', 1]]), polling: 5 },
});
const listener: cluster.SharedListener<number> = (event) => {
  if (event.type === 'set') console.log(event.value.toFixed());
};
sourced.on('change', listener).once('load', ({ loadedAt }) => console.log(loadedAt.toFixed()));
polled.off('change', listener);
const tally: cluster.SharedTally = sourced.tally('requests');
tally.add();
void (tally.value + tally.own);
const age: number | undefined = filed.stats().source?.age;
void [age, polled.stats().source.failures, sourced.ready];

cluster.schedule(
  ({ remoteAddress, localPort }, [first, ...others]) => {
    if (remoteAddress === undefined) return undefined;
    if (localPort === 8081) return others.find(({ utilization, ready }) => ready && utilization < 0.5);
    return others.length > 0 ? first.worker : first.id + first.connections + first.slot;
  },
  { timeout: 50, patience: 0 },
);
setupPrimary({ scheduling: (_connection, workers) => workers[0] });
setupPrimary({
  scheduling: { listeners: { 80: () => null, 81: { policy: () => {}, hook: { timeout: 9 } } } },
});
const unanswered: number = cluster.schedulingStats().hook?.late ?? 0;
console.log(unanswered, cluster.SCHED_HOOK.toFixed());

// Mistakes are found.
// @ts-expect-error The answer is needed at once.
cluster.schedule(async (_connection, workers) => workers[0]);
cluster.schedule((connection) => {
  // @ts-expect-error It is frozen.
  connection.remotePort = 1;
});
// @ts-expect-error There is no such policy.
setupPrimary({ scheduling: 'best' });
// @ts-expect-error There is no such encoding.
setupPrimary({ serialization: 'xml' });
// @ts-expect-error Whether this is a worker cannot be changed.
cluster.isWorker = true;
// @ts-expect-error The callback takes no arguments.
cluster.disconnect((error: Error) => error);

cluster.setupPrimary({
  execPath: 'python3',
  forward: [
    { port: 80, to: 'path' },
    { path: '/run/app.sock', env: 'ADMIN' },
  ],
});
for (const { address, workers } of cluster.forwarding()) {
  const place: number | string = 'port' in address ? address.port : address.path;
  console.log(
    place,
    workers.map(({ id, connections }) => id + connections),
  );
}
// @ts-expect-error There is no third version.
cluster.setupPrimary({ forward: { port: 80, proxyProtocol: 3 } });

const here: Promise<cluster.RequestResult<number>[]> = cluster.request<number>('all', 'jobs', 1, {
  timeout: 10,
});
const everywhere: Promise<cluster.MachinesRequestResult<number>[]> = cluster.request<number>(
  'all',
  'jobs',
  1,
  {
    scope: 'all',
    timeout: 10,
  },
);
const led: Promise<string> = cluster.request<string>({ leader: 'cron' }, 'jobs', undefined, { scope: 'all' });
const names: Promise<(string | undefined)[]> = everywhere.then((results) =>
  results.map(({ machine, worker, value }) => machine ?? worker?.toFixed() ?? value?.toFixed()),
);
cluster.notify({ leader: 'cron' }, 'jobs', 1, { scope: 'all' });
// @ts-expect-error A worker is one of this machine.
const worker3 = cluster.request(3, 'jobs', 1, { scope: 'all' });
void [here, led, names, worker3];

{
  using registration = cluster.handle('jobs', () => {});
  void registration;
}
