// The cluster object, its workers, their settings and events. See index.d.ts.

import { ChildProcess, MessageOptions, SendHandle, Serializable } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { ForwardOptions, Forwarding } from './forward.js';
import { HookOptions, ScheduleHook, Scheduling, SchedulingPolicy, SchedulingStats } from './scheduling.js';
import {
  BroadcastChannelConstructor,
  HandleOptions,
  HandlerRegistration,
  MachinesRequestOptions,
  MachinesRequestResult,
  MessageHandler,
  MessageTarget,
  NotifyOptions,
  RequestOptions,
  RequestResult,
} from './exchange.js';
import { LeadOptions, Leadership, Locks } from './locks.js';
import { PolledStore, SharedBackend, SharedOptions, SharedPollingSource, SharedStore } from './shared.js';
import { SuperviseOptions, Supervisor } from './supervise.js';

/** How workers are started. Set by `setupPrimary()`; a change affects later forks only. */
export interface ClusterSettings {
  /** Options for the `node` executable. Default: `process.execArgv`. */
  execArgv?: string[] | undefined;
  /** The file that a worker runs. Default: `process.argv[1]`. */
  exec?: string | undefined;
  /** The arguments of that file. Default: `process.argv.slice(2)`. */
  args?: readonly string[] | undefined;
  /** The working directory of workers. Default: the primary's. */
  cwd?: string | undefined;
  /** How messages are encoded; `'advanced'` is the structured clone algorithm. Default: `'json'`. */
  serialization?: 'json' | 'advanced' | undefined;
  /** Whether `worker.process.stdout` and `stderr` are streams instead of the primary's own output. Default: `false`. */
  silent?: boolean | undefined;
  /** The fds of workers as in `child_process.spawn()`, one of them `'ipc'`. Overrides `silent`. */
  stdio?: any[] | undefined;
  /** The user id of workers. Default: the primary's. */
  uid?: number | undefined;
  /** The group id of workers. Default: the primary's. */
  gid?: number | undefined;
  /**
   * The inspector's port in a worker, or a function called at each fork that returns it. It counts only where an
   * option of the worker turns the inspector on. Default: the primary's port plus 1, 2, 3 and so on. `supervise()`,
   * `reload()` and `scale()` call the function ahead, once for each worker that they start; see docs/design.md.
   */
  inspectPort?: number | (() => number) | undefined;
  /** Has no effect on Linux. */
  windowsHide?: boolean | undefined;
  /** Defaults for the options of `supervise()`. Not in the built-in. */
  supervise?: SuperviseOptions | undefined;
  /**
   * With `forward`, the program that runs `exec`, for workers that are not Node. Its arguments are `execArgv`, `exec` and
   * `args`, so `execArgv` should be set as well. rcluster loads nothing into such a worker: it listens on its own
   * address, see `forward`; it emits neither 'online' nor 'listening'; and `disconnect()` and `retire()` stop the
   * forwarding to it and send it SIGTERM. Refused without `forward` (`ERR_INVALID_ARG_VALUE`). Not in the built-in. Default: Node.
   */
  execPath?: string | undefined;
  /**
   * The Redis or Valkey server that the primaries of several machines share: a URL such as
   * `'redis://host:6379'`, or an object, as for the option `backend` of `shared()`. Locks and leaders with the scope `'all'` are
   * leased from it, including those of workers. Set it before the first use of these; it cannot change. Not in the built-in. See
   * docs/redis.md.
   */
  backend?: string | SharedBackend | undefined;
  /**
   * Addresses that the primary forwards to workers with ports or paths of their own: each worker that is started
   * afterwards, by `fork()` or `supervise()`, finds its port or path in its environment. Can be set once. Not in the
   * built-in.
   *
   * ```js
   * cluster.setupPrimary({ forward: { port: 8000 } }); // and in the worker: server.listen(process.env.PORT)
   * ```
   */
  forward?: ForwardOptions | readonly ForwardOptions[] | undefined;
  /**
   * How connections are distributed: a policy, a function that decides (see `schedule()`), or an object with one of these and
   * further settings. Not in the built-in. It takes effect at the first fork and cannot change after that. Default: the
   * policy in `schedulingPolicy`.
   */
  scheduling?: SchedulingPolicy | ScheduleHook | Scheduling | undefined;
}

/** Where a worker listens. */
export interface Address {
  /** The address as the worker gave it, or the path of a Unix socket. `null` at run time if the worker gave none. */
  address: string;
  /** The actual port; -1 for a Unix socket. */
  port: number;
  /** 4 or 6 for TCP, -1 for a Unix socket. */
  addressType: 4 | 6 | -1 | 'udp4' | 'udp6';
}

/** The events of a worker with the arguments of their listeners. */
export interface WorkerEventMap {
  /** The IPC channel is closed: after `disconnect()`, or because the worker ended. */
  disconnect: [];
  /** The worker could not be started or signalled, or a message could not be sent to it. */
  error: [error: Error];
  /** The worker has ended, with an exit code or by a signal; the other one is `null`. */
  exit: [code: number, signal: string];
  /** A server or UDP socket of the worker has started to listen. */
  listening: [address: Address];
  /** The worker has called `process.send()`; `handle` is undefined if it sent none. */
  message: [message: any, handle: any];
  /** The worker is running. It may not have begun to run the app's code. */
  online: [];
  /** In the worker: it is no longer a standby, and gets connections from now on. Not in the built-in. */
  promote: [facts: { slot: number }];
  /**
   * In the worker: it drains. Its servers are closed; the app has to end connections that are not HTTP, such
   * as WebSockets. `deadline` is when the worker will be forced to end, in ms as `Date.now()` counts them, or
   * null if it will not be forced. The worker waits for promises that listeners return. Not in the built-in.
   *
   * ```js
   * cluster.worker.on('retire', () => {
   *   for (const socket of webSocketServer.clients) socket.close(1001);
   * });
   * ```
   */
  retire: [facts: { reason: string; deadline: number | null }];
}

/** The events of the cluster: those of all workers, with the worker as the first argument, and two of its own. */
export interface ClusterEventMap {
  disconnect: [worker: Worker];
  exit: [worker: Worker, code: number, signal: string];
  /** A worker has been forked; emitted on the next tick. */
  fork: [worker: Worker];
  listening: [worker: Worker, address: Address];
  message: [worker: Worker, message: any, handle: any];
  online: [worker: Worker];
  /** `setupPrimary()` was called, by the app or by `fork()`; emitted on the next tick with the settings of that call. */
  setup: [settings: ClusterSettings];
}

/** The methods of an emitter that take a listener or emit an event, for the events in `Events` and for any other event. */
export interface TypedEmitter<Events> extends EventEmitter {
  addListener<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  addListener(event: string | symbol, listener: (...args: any[]) => void): this;
  emit<E extends keyof Events>(event: E, ...args: Arguments<Events[E]>): boolean;
  emit(event: string | symbol, ...args: any[]): boolean;
  on<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  on(event: string | symbol, listener: (...args: any[]) => void): this;
  once<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  once(event: string | symbol, listener: (...args: any[]) => void): this;
  prependListener<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  prependListener(event: string | symbol, listener: (...args: any[]) => void): this;
  prependOnceListener<E extends keyof Events>(event: E, listener: Listener<Events[E]>): this;
  prependOnceListener(event: string | symbol, listener: (...args: any[]) => void): this;
}

export type Arguments<T> = T extends any[] ? T : never;
export type Listener<T> = (...args: Arguments<T>) => void;

export interface WorkerOptions {
  /** Default: 0. */
  id?: number | undefined;
  /** The process whose 'error' and 'message' events the worker re-emits. Default: none. */
  process?: ChildProcess | undefined;
  /** Default: `'none'`. */
  state?: string | undefined;
}

export interface WorkerConstructor {
  new (options?: WorkerOptions): Worker;
  readonly prototype: Worker;
}

/** A worker: in the primary one of `cluster.workers`, in the worker itself `cluster.worker`. */
export interface Worker extends WorkerMembers {}

/**
 * The cluster object. In a worker, these members are undefined: `fork`, `setupPrimary`, `setupMaster`, `disconnect`, `workers`,
 * `settings`, `schedulingPolicy`, `SCHED_…`, `forwarding` and `schedulingStats`; `supervise` and `schedule` throw. In the primary,
 * those marked "Only in workers" are.
 */
export interface Cluster extends TypedEmitter<ClusterEventMap> {
  /** Whether this process is a worker. In workers, too. */
  readonly isWorker: boolean;

  /**
   * The same as `isPrimary`. In workers, too.
   * @deprecated
   */
  readonly isMaster: boolean;

  /** Whether this process is the primary, which forks workers. In workers, too. */
  readonly isPrimary: boolean;

  /** This worker. Only in workers. */
  readonly worker?: Worker;

  /** The class of workers. In workers, too. */
  readonly Worker: WorkerConstructor;

  /** The workers by id. A worker is removed when `disconnect()` is called, or else when it is both disconnected and dead. */
  readonly workers?: NodeJS.Dict<Worker>;

  /** The settings of the last `setupPrimary()` or `fork()`; empty before the first. */
  readonly settings: ClusterSettings;

  /** The policy by which the kernel decides which worker accepts a connection. */
  readonly SCHED_NONE: number;

  /** The policy by which the primary gives connections to workers in turn. */
  readonly SCHED_RR: number;

  /** The policy by which the worker with the fewest connections gets the next one. Not in the built-in. */
  readonly SCHED_LEAST_CONNECTIONS: number;

  /**
   * The policy by which the worker with the lowest load gets the next connection: its connections, weighted by how busy
   * its event loop is. Not in the built-in.
   */
  readonly SCHED_LEAST_LOADED: number;

  /** The policy by which a client always gets the same worker. Not in the built-in. */
  readonly SCHED_STICKY: number;

  /** The policy by which the kernel gives each worker an equal share on a socket of its own. Not in the built-in. */
  readonly SCHED_KERNEL: number;

  /** The value of `schedulingPolicy` when a function decides. Set by `schedule()` only. Not in the built-in. */
  readonly SCHED_HOOK: number;

  /**
   * One of these; the value at the first `setupPrimary()` or `fork()` applies. `scheduling.policy` sets it.
   * Default: `SCHED_RR`, or the value of the environment variable NODE_CLUSTER_SCHED_POLICY: `rr` or `none`.
   */
  schedulingPolicy: number;

  /**
   * Changes settings for later forks. Settings that are not mentioned keep their values.
   *
   * ```js
   * cluster.setupPrimary({ exec: 'worker.js', args: ['--verbose'], silent: true });
   * cluster.fork().process.stdout.pipe(process.stdout);
   * ```
   * @throws {Error} `ERR_INTERNAL_ASSERTION` at the first call, if `schedulingPolicy` is not one of the policies.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` for `scheduling`, naming what is wrong.
   * @throws {Error} `ERR_RCLUSTER_TOO_LATE` for another `scheduling` than before once a worker has been forked or
   * something is forwarded. For `forward`: `ERR_INVALID_ARG_VALUE`; what `server.listen()` emits, such as `EADDRINUSE`;
   * `ERR_RCLUSTER_FORWARDING` if it was set before to something else.
   */
  setupPrimary(settings?: ClusterSettings): void;

  /**
   * The same as `setupPrimary()`.
   * @deprecated
   */
  setupMaster(settings?: ClusterSettings): void;

  /**
   * Starts a worker.
   * @param env Variables to add to the primary's environment.
   * @returns The worker. If the system refused to start it (a `cwd` that does not exist, no more processes), it emits
   * 'error' and 'disconnect', and neither 'online' nor 'exit'.
   * @throws {Error} For wrong settings what `child_process.fork()` throws: `ERR_INVALID_ARG_TYPE`,
   * `ERR_CHILD_PROCESS_IPC_REQUIRED`, `EPERM` for a `uid` that is not allowed and others; `ERR_SOCKET_BAD_PORT` for
   * `inspectPort`.
   */
  fork(env?: any): Worker;

  /**
   * Calls `disconnect()` on all workers. A supervised cluster is shut down, and `disconnect()` called on its other workers.
   * @param callback Called without arguments, and never synchronously: when a worker has ended and `cluster.workers` is empty;
   * of a supervised cluster, when all workers have ended.
   */
  disconnect(callback?: () => void): void;

  /**
   * Starts workers and keeps them running: those that die, become unresponsive, use too much memory or
   * throw are replaced, within limits. This is decided and done on a native thread, even while the primary's JavaScript is busy. Not in
   * the built-in.
   *
   * ```js
   * const cluster = require('rcluster');
   * const http = require('node:http');
   *
   * if (cluster.isPrimary) {
   *   const supervisor = cluster.supervise({ workers: 2, unresponsiveAfter: 5000 });
   *   supervisor.on('restart', ({ slot, reason }) => console.log(`slot ${slot}: ${reason}`));
   * } else {
   *   http.createServer((request, response) => response.end(`slot ${cluster.worker.slot}\n`)).listen(8000);
   * }
   * ```
   * @throws {TypeError | RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, naming the option.
   * @throws {Error} `ERR_RCLUSTER_SUPERVISED` at the second call, `ERR_RCLUSTER_SHUT_DOWN` after a shutdown,
   * `ERR_RCLUSTER_NOT_PRIMARY` in a worker. Where there is no native part, supervision runs in JavaScript;
   * docs/platform.md describes its limits.
   */
  supervise(options?: SuperviseOptions): Supervisor;

  /**
   * How many workers make sense: the number of CPUs that this process may use, limited also by its CPU
   * affinity and by the CPU quota of its container. At least 1. Not in the built-in. In workers, too.
   */
  availableParallelism(): number;

  /**
   * What is currently forwarded, in the order of `settings.forward`; empty if that is not set. Not in the built-in.
   *
   * ```js
   * cluster.setupPrimary({ forward: { port: 0, host: '127.0.0.1' } });
   * const [{ address }] = cluster.forwarding();
   * ```
   */
  forwarding(): Forwarding[];

  /**
   * Has a function decide where connections go, at all listeners that have no policy of their own. This is
   * short for `setupPrimary({ scheduling: { policy: choose, hook: options } })`, where the rest of
   * `scheduling` stays as it is. docs/balancing.md describes the cost. Not in the built-in.
   *
   * ```js
   * // Clients of the office get the workers of the first slot, everybody else the one with the fewest connections.
   * cluster.schedule(({ remoteAddress = '' }, workers) => {
   *   const [first, ...others] = workers.sort((one, other) => one.slot - other.slot);
   *   if (remoteAddress.startsWith('10.1.') || others.length === 0) return first;
   *   return others.reduce((least, other) => (other.connections < least.connections ? other : least));
   * });
   * ```
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if `choose` is not a function; as `setupPrimary()` for wrong options.
   * @throws {Error} `ERR_RCLUSTER_TOO_LATE` once a worker has been forked, unless it changes nothing;
   * `ERR_RCLUSTER_NOT_PRIMARY` in a worker; `ERR_RCLUSTER_UNSUPPORTED_PLATFORM` where there is no native part.
   */
  schedule(choose: ScheduleHook, options?: HookOptions): void;

  /**
   * Counts of connections so far, by listener and by worker. Not in the built-in.
   *
   * ```js
   * setInterval(() => {
   *   for (const { name, waiting, shed } of cluster.schedulingStats().listeners) console.log(name, waiting, shed);
   * }, 1000);
   * ```
   */
  schedulingStats(): SchedulingStats;

  /**
   * Locks for all processes of the cluster, with the methods of `navigator.locks`. A lock ends when its
   * callback does, when its process is dead, or when its worker has been drained; no clock is involved. In
   * the primary, in workers, and in a process without workers. Costs nothing until it is used. On Linux only;
   * elsewhere its methods throw `ERR_RCLUSTER_UNSUPPORTED_PLATFORM`.
   */
  readonly locks: Locks;

  /**
   * Runs a function in one of the processes that call this with the same name. Another one takes over when
   * that process is dead, retires or stops, or when the function throws. A process whose function has
   * returned is still the leader. On Linux only.
   *
   * ```js
   * cluster.lead('cron', ({ signal }) => {
   *   const timer = setInterval(sendReports, 60_000);
   *   signal.addEventListener('abort', () => clearInterval(timer));
   * });
   * ```
   * @param name Up to 1,024 bytes of UTF-8. It has nothing to do with a lock of the same name.
   * @param leader Called with a signal that is aborted when this process is no longer the leader, and with a fencing token like that of a lock.
   */
  lead(name: string, leader: (facts: { signal: AbortSignal; token: number }) => unknown): Leadership;
  /**
   * The same with options: `{ scope: 'all' }` for one leader on all machines with the same `backend`. The
   * leadership is then a lease: when it is lost, the signal is aborted before another machine can lead, and
   * this process becomes a candidate again.
   */
  lead(
    name: string,
    options: LeadOptions | undefined,
    leader: (facts: { signal: AbortSignal; token: number }) => unknown,
  ): Leadership;

  /**
   * A channel between all processes of the cluster, with the API and the rules of Node's class
   * of that name, which is limited to one process. Messages do not pass through the JavaScript of the primary. An open channel
   * keeps its process alive until `close()` or `unref()`, as Node's does. On Linux only.
   *
   * ```js
   * const channel = new cluster.BroadcastChannel('settings');
   * channel.onmessage = ({ data }) => applySettings(data);
   * channel.postMessage({ theme: 'dark' });
   * ```
   */
  readonly BroadcastChannel: BroadcastChannelConstructor;

  /**
   * Registers a function that `request()` and `notify()` call, in other processes and in this one. Does not keep the process
   * alive. On Linux only.
   *
   * ```js
   * cluster.handle('sessions', () => sessions.size);
   * ```
   * @param name Up to 1,024 bytes of UTF-8.
   * @throws `ERR_RCLUSTER_HANDLER_EXISTS` if this process already handles the name.
   */
  handle(name: string, fn: MessageHandler, options?: HandleOptions): HandlerRegistration;

  /**
   * Calls the handler of another process, and resolves to what it returns. The promise rejects as soon as the target is
   * dead, without any time limit. A pending request keeps the process alive. Where there are no workers, `'any'` and
   * `'all'` are the primary. On Linux only.
   *
   * ```js
   * const count = await cluster.request(3, 'sessions', undefined, { timeout: 1000 });
   * ```
   * @param data Whatever structured clone supports, up to 4 MiB; the same applies to the result. A `Buffer`
   * stays a `Buffer`. Errors of the handler arrive as an `Error` with their `name`, `message` and `code`.
   * @throws `ERR_RCLUSTER_GONE`, `ERR_RCLUSTER_NO_HANDLER`, `ERR_RCLUSTER_NO_LEADER`, `ERR_RCLUSTER_TIMEOUT`,
   * `ERR_RCLUSTER_BUSY`, `ERR_RCLUSTER_MESSAGE_TOO_LARGE`, `ERR_RCLUSTER_REQUEST_LIMIT` beyond 10,000 at a time,
   * `DataCloneError`, or what the handler has thrown.
   */
  request<T = any>(target: MessageTarget, name: string, data?: unknown, options?: RequestOptions): Promise<T>;

  /**
   * Calls the handlers of all workers, and resolves to one result for each worker that was alive, in the
   * order of their ids; this includes workers that have died meanwhile, or have not answered within
   * `timeout`.
   *
   * ```js
   * const results = await cluster.request('all', 'sessions', undefined, { timeout: 1000 });
   * ```
   */
  request<T = any>(
    target: 'all',
    name: string,
    data?: unknown,
    options?: RequestOptions,
  ): Promise<RequestResult<T>[]>;

  /**
   * Calls the handlers of all workers of all machines that use the server of `setupPrimary({ backend })`, and
   * resolves to one result for each: first those of this machine, then those of others, in the order of the
   * machines' ids. If some machines have not answered, or cannot be reached, the last result says so. See
   * docs/redis.md.
   *
   * ```js
   * const results = await cluster.request('all', 'sessions', undefined, { scope: 'all', timeout: 1000 });
   * ```
   * @throws `ERR_RCLUSTER_NO_BACKEND` without a server, and what is thrown with the scope `'machine'`. A
   * missing answer of another machine does not reject the request.
   */
  request<T = any>(
    target: 'all',
    name: string,
    data: unknown,
    options: MachinesRequestOptions,
  ): Promise<MachinesRequestResult<T>[]>;

  /**
   * Calls the handler of the process that is the leader under a name on any of these machines, see `lead()` with the scope `'all'`.
   *
   * ```js
   * const jobs = await cluster.request({ leader: 'cron' }, 'jobs', undefined, { scope: 'all', timeout: 1000 });
   * ```
   * @throws What is thrown with the scope `'machine'`, and `ERR_RCLUSTER_NO_BACKEND`, `ERR_RCLUSTER_DISCONNECTED`.
   * `ERR_RCLUSTER_GONE` if a machine has not said whether it has the leader.
   */
  request<T = any>(
    target: { leader: string },
    name: string,
    data: unknown,
    options: MachinesRequestOptions,
  ): Promise<T>;

  /**
   * Calls handlers of other processes without waiting for an answer: at most once, and in order for each
   * sender. It is not an error if a target is dead or does not handle the name. On Linux only.
   *
   * ```js
   * cluster.notify('all', 'forget', 7, { scope: 'all' }); // on all machines with the same server
   * cluster.notify({ leader: 'cron' }, 'wake', undefined, { scope: 'all' }); // on whichever of them
   * ```
   * @throws `ERR_RCLUSTER_NO_BACKEND` for the scope `'all'` without a server; `ERR_RCLUSTER_BUSY`, `ERR_RCLUSTER_MESSAGE_TOO_LARGE`, `DataCloneError`.
   */
  notify(target: MessageTarget | 'all', name: string, data?: unknown, options?: NotifyOptions): void;

  /**
   * Opens a store that the primary and all workers share, and creates it if there is none with this name. In
   * the primary, in workers of `fork()` and `supervise()`, and in a process without workers. Costs nothing
   * until it is called. On Linux only.
   *
   * ```js
   * const hits = cluster.shared('hits');
   * const count = await hits.increment(address, 1, { ttl: 60_000 });
   * ```
   * @param name Up to 256 bytes. Each name is a store of its own.
   * @throws `ERR_RCLUSTER_SHARED_OPTIONS` if it is open with other options; `ERR_RCLUSTER_SHARED` if it cannot be opened;
   * `ERR_RCLUSTER_UNSUPPORTED_PLATFORM` elsewhere than on Linux.
   */
  shared<V = any>(name: string, options?: SharedOptions): SharedStore<V>;
  /** A store of this process alone, which it fills by itself; other libraries call this polling. */
  shared<V = any>(name: string, options: { source: SharedPollingSource }): PolledStore<V>;

  /**
   * A new random identifier that leads back to this worker: a client that sends it in the place that the
   * `sticky` option names is passed to the worker that created it, or to its replacement. Only in workers.
   * Not in the built-in.
   *
   * ```js
   * // The primary: cluster.setupPrimary({ scheduling: { policy: 'sticky', sticky: { by: 'query', name: 'sid' } } });
   * const io = new Server(server);
   * io.engine.generateId = () => cluster.stickyId();
   * ```
   */
  stickyId(): string;
}

// The members of a `Worker`. They are in an interface of their own because `Worker` is a value and a type
// with the same name: where TypeScript merges the two, methods that return `this` keep their type only if
// they are inherited.
interface WorkerMembers extends TypedEmitter<WorkerEventMap> {
  /** 1, 2, 3 and so on in the order of forks. An id is not used twice. */
  id: number;

  /** In the primary the child process, in the worker the global `process`. */
  process: ChildProcess;

  /**
   * Whether the worker ended, or is ending, because `disconnect()` was called, by either side, or because it called
   * `kill()` on itself. It is `undefined` until `disconnect()` is called or 'disconnect' or 'exit' is emitted.
   *
   * ```js
   * cluster.on('exit', (worker, code, signal) => {
   *   if (!worker.exitedAfterDisconnect) console.log('worker died:', signal ?? code);
   * });
   * ```
   */
  exitedAfterDisconnect: boolean;

  /**
   * Sends a message, in the primary to this worker, in the worker to the primary.
   * @param message What `settings.serialization` can encode.
   * @param sendHandle A socket or server that the other side gets as well.
   * @param callback Called when the message has been sent, with an error (`ERR_IPC_CHANNEL_CLOSED` among others) if
   * that failed; without it, 'error' is emitted instead.
   * @returns `false` if so many messages are queued that no more should be sent.
   * @throws {TypeError} `ERR_MISSING_ARGS`, `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_HANDLE_TYPE`.
   */
  send(message: Serializable, callback?: (error: Error | null) => void): boolean;
  send(message: Serializable, sendHandle: SendHandle, callback?: (error: Error | null) => void): boolean;
  send(
    message: Serializable,
    sendHandle: SendHandle,
    options?: MessageOptions,
    callback?: (error: Error | null) => void,
  ): boolean;

  /**
   * In the primary: sends a signal to the worker, without any preparation for its end.
   * In the worker: closes the channel and exits with code 0.
   * @param signal Default: `'SIGTERM'`.
   * @throws {TypeError} `ERR_UNKNOWN_SIGNAL`
   */
  kill(signal?: string): void;

  /** The same as `kill()`. */
  destroy(signal?: string): void;

  /**
   * Makes the worker close all its servers, wait for open connections to end, and close the channel. It gets no new
   * connections from now on and is no longer in `cluster.workers`.
   *
   * ```js
   * const worker = cluster.fork();
   * worker.once('listening', () => worker.disconnect());
   * worker.once('exit', (code) => console.log('left with', code)); // left with 0
   * ```
   */
  disconnect(): this;

  /** In a supervised worker, its place among them: 0 to n - 1; undefined in others. Not in the built-in. */
  readonly slot: number | undefined;

  /**
   * Makes the worker take no more connections, finish the work that has begun, and end. Idle HTTP
   * connections are handed over to other workers where possible, pending responses have `Connection: close`, and HTTP/2
   * sessions get GOAWAY, so that requests of clients do not fail; docs/lifecycle.md lists the exceptions. A supervised worker is replaced first. It can be
   * called on either side; a second call, or a call after `disconnect()`, has no effect. Not in the built-in.
   *
   * ```js
   * // In a worker that is no longer healthy:
   * cluster.worker.retire('lost the database');
   * ```
   * @param reason Reported by events; limited to the first 64 characters. Default: `'retire'`.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` in a worker, if the reason is not a string.
   */
  retire(reason?: string): void;

  /**
   * In the worker: says that it is ready, for a supervisor with `ready: 'explicit'`. Has no effect in other
   * workers, or when it is repeated. Not in the built-in.
   */
  ready(): void;

  /** Whether the IPC channel is open. */
  isConnected(): boolean;

  /** Whether the process has ended, by itself or by a signal. */
  isDead(): boolean;
}
