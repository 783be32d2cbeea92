import { ChildProcess, MessageOptions, SendHandle, Serializable } from 'node:child_process';
import { EventEmitter } from 'node:events';

/**
 * A drop-in replacement for Node's `cluster`: the same functions, events and settings, with supervision and the
 * distribution of connections on native threads.
 *
 * ```js
 * const cluster = require('rcluster');
 * const http = require('node:http');
 *
 * if (cluster.isPrimary) {
 *   cluster.supervise();
 * } else {
 *   http.createServer((request, response) => response.end(`worker ${cluster.worker.id}\n`)).listen(8000);
 * }
 * ```
 *
 * In a worker this object is the built-in one, so `require('cluster')` and `require('rcluster')` are the same there.
 *
 * On Linux, loading it throws `ERR_RCLUSTER_BINDING` in a primary whose installation lacks the native part or has one of
 * another version. Elsewhere it is the built-in module, and the primary emits one process warning with the code
 * `RCLUSTER_FALLBACK`.
 */
declare const cluster: cluster.Cluster;

declare namespace cluster {
  /** How workers are started. Set by `setupPrimary()`; a change affects later forks only. */
  interface ClusterSettings {
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
    /** Of no effect on Linux. */
    windowsHide?: boolean | undefined;
    /** Defaults for the options of `supervise()`. Not in the built-in. */
    supervise?: SuperviseOptions | undefined;
    /**
     * With `forward`, the program that runs `exec`, for workers that are not Node. Its arguments are `execArgv`, `exec` and
     * `args`, so `execArgv` should be set as well. Nothing of rcluster is loaded in such a worker: it listens by itself,
     * see `forward`; it emits neither 'online' nor 'listening'; and `disconnect()` and `retire()` take it out of the
     * forwarding and send it SIGTERM. Refused without `forward` (`ERR_INVALID_ARG_VALUE`). Not in the built-in. Default: Node.
     */
    execPath?: string | undefined;
    /**
     * Addresses that the primary forwards to workers that listen by themselves: each worker that is started afterwards,
     * by `fork()` or `supervise()`, finds a port or path of its own in its environment. Can be set once. Not in the
     * built-in.
     *
     * ```js
     * cluster.setupPrimary({ forward: { port: 8000 } }); // and in the worker: server.listen(process.env.PORT)
     * ```
     */
    forward?: ForwardOptions | readonly ForwardOptions[] | undefined;
    /**
     * How connections are distributed: a policy, a function that decides (see `schedule()`), or an object with either and
     * further settings. Not in the built-in. It takes effect at the first fork and cannot change after that. Default: the
     * policy in `schedulingPolicy`.
     */
    scheduling?: SchedulingPolicy | ScheduleHook | Scheduling | undefined;
  }

  /** The policies by name. docs/balancing.md compares them. */
  type SchedulingPolicy = 'round-robin' | 'none' | 'least-connections' | 'least-loaded' | 'sticky' | 'kernel';

  /** How the connections of a listener are distributed. */
  interface ListenerScheduling {
    /** A policy, or a function that decides: see `schedule()`. Default: that of the cluster. */
    policy?: SchedulingPolicy | ScheduleHook | undefined;
    /**
     * For how many ms after it has begun to listen a worker gets less than its share: a tenth at first, then gradually
     * more. With the policies `round-robin`, `least-connections` and `least-loaded`. Default: 0.
     */
    slowStart?: number | undefined;
    /** Settings of the policy `sticky`. */
    sticky?: StickyOptions | undefined;
    /** Settings of a function that decides. */
    hook?: HookOptions | undefined;
    /** What happens to connections for which no worker is ready. Not with the policies `none` and `kernel`. */
    overload?: OverloadOptions | undefined;
  }

  /** The `scheduling` option of `setupPrimary()`. */
  interface Scheduling extends ListenerScheduling {
    /**
     * Settings of single listeners, by port (as in the call of `listen()`) or path. They take only the policy from the cluster.
     *
     * ```js
     * cluster.setupPrimary({ scheduling: { policy: 'least-loaded', listeners: { 8081: 'sticky' } } });
     * ```
     */
    listeners?: Record<string, SchedulingPolicy | ScheduleHook | ListenerScheduling> | undefined;
  }

  interface StickyOptions {
    /**
     * What a client is recognised by: its address (IPv4, or the first 64 bits of IPv6), or a cookie, a header or a
     * parameter of the URL in the first HTTP request of the connection. A client that sends no such thing, or not in
     * time or not within the first 8 KiB, is recognised by its address. On a unix socket that leaves nothing, and
     * clients are served in turn. TLS cannot be looked into. Default: `'address'`.
     */
    by?: 'address' | 'cookie' | 'header' | 'query' | undefined;
    /** The name of the cookie, header or parameter. */
    name?: string | undefined;
    /**
     * Whether a proxy in front tells the address of its clients by the PROXY protocol, version 1 or 2. It stays in the
     * stream, for the worker to read. Default: `false`.
     */
    proxyProtocol?: boolean | undefined;
    /** How many ms a client has to send what it is to be recognised by. Default: 100. */
    timeout?: number | undefined;
    /**
     * How many ms a connection waits for its own worker while that is blocked or full, before it goes to another one.
     * Default: 250.
     */
    patience?: number | undefined;
  }

  /**
   * Decides where a connection goes. It returns a `Worker`, an entry of the list, or the id of a worker. It may name any
   * worker that listens there, including one that is not ready and therefore not in the list: then the connection waits for
   * that worker, see `HookOptions`. With `undefined` or `null` the connection goes to the next worker in turn.
   *
   * It is called in the primary, and has to return its decision synchronously: a promise is refused.
   * @param workers The workers that listen there and are ready; if none is ready, all that listen there. The list is never
   * empty, and the function may sort it.
   */
  type ScheduleHook = (
    connection: ScheduledConnection,
    workers: ScheduleCandidate[],
  ) => Worker | ScheduleCandidate | number | null | undefined | void;

  /** What is known of a connection before a byte of it is read. It is frozen. */
  interface ScheduledConnection {
    /** The port or path that is listened at; empty for a descriptor. */
    readonly listener: string;
    /** As of a `net.Socket`. Absent on a Unix socket, or if the client has already closed the connection. */
    readonly remoteAddress?: string;
    readonly remotePort?: number;
    readonly remoteFamily?: 'IPv4' | 'IPv6';
    /** As of a `net.Socket`. Absent on a Unix socket. */
    readonly localAddress?: string;
    readonly localPort?: number;
    /** True if a worker that drains hands it over: the function has been asked about it before. Otherwise not there. */
    readonly handedOver?: true;
  }

  /** A worker that may be chosen. */
  interface ScheduleCandidate {
    readonly worker: Worker;
    readonly id: number;
    /** The slot, which a replacement inherits. */
    readonly slot: number;
    /** Connections that it has open or that are on their way to it. */
    readonly connections: number;
    /** The share of recent time in which its event loop was busy, from 0 to 1; also 1 while it is blocked. */
    readonly utilization: number;
    /** Whether it can be given a connection at once: it has room, and its event loop turns. */
    readonly ready: boolean;
  }

  interface HookOptions {
    /** How many ms the function has to answer before a connection goes to the next worker in turn. Default: 100. */
    timeout?: number | undefined;
    /** How many ms a connection waits for the chosen worker while that is blocked or full. Default: 250. */
    patience?: number | undefined;
  }

  interface OverloadOptions {
    /** How many connections may wait for a worker in the primary, 0 (with another `action` than `'wait'`) to 65,536. Default: 128. */
    queue?: number | undefined;
    /** How many ms one may wait there before `action` is taken. Default: for ever. */
    deadline?: number | undefined;
    /**
     * What is done with one too many: it is left to wait in the system's backlog, reset, or answered by an HTTP
     * response (which makes no sense on a TLS port). Default: `'wait'`.
     */
    action?:
      | 'wait'
      | 'reset'
      | {
          /** 400 to 599. Default: 503. */
          status?: number | undefined;
          /** The header Retry-After, in seconds. Default: none. */
          retryAfter?: number | undefined;
          /** Plain text of at most 8,192 bytes. Default: none. */
          body?: string | undefined;
        }
      | undefined;
  }

  /** Counts of connections. */
  interface ConnectionCounts {
    /** Passed to workers; a connection that came back and was passed again counts twice. */
    passed: number;
    /** Reclaimed from a worker that had not received them, because it had died, was leaving or was blocked. */
    reclaimed: number;
    /** Returned by a worker: it had `maxConnections`, or its server was closed. */
    returned: number;
    /** Handed over by a draining worker, open and idle, to continue with another one. The client is not a new one. */
    handedOver: number;
  }

  /** How a shared store is made. Whoever opens one that there is gives the same options, or none. */
  interface SharedOptions {
    /**
     * How much memory its values may take: bytes, or text such as `'512KB'`, `'64MB'`, `'1GB'`. From 1 MB to 64 GB; a part
     * of it is room to clean up in. What is not used takes none. Default: `'64MB'`.
     */
    size?: number | string;
    /**
     * What happens when it is full. `'none'`: what needs more room is rejected with `ERR_RCLUSTER_FULL`. `'lru'`: what has
     * not been used for longest has to go. Default: `'none'`.
     */
    eviction?: 'none' | 'lru';
  }

  /** Options of `set()`. */
  interface SharedSetOptions {
    /** The value expires in so many ms. Default: never. */
    ttl?: number;
    /** Keep the time of what was there before. Default: `false`. */
    keepTtl?: boolean;
    /** Only if the key has no value. Default: `false`. */
    ifAbsent?: boolean;
    /** Only if the value is still that of this revision; 0: if there is none. */
    ifRevision?: number;
  }

  /** How a write went. */
  interface SharedResult {
    /** False if the condition was not met, or there was nothing to change. Then nothing has changed. */
    ok: boolean;
    /** Of the change; if `ok` is false, of the value that the key has, or 0. */
    revision: number;
  }

  /** A value with what is known of it. */
  interface SharedEntry<T = unknown> {
    value: T;
    /** Of the change that has set it. */
    revision: number;
    /** When it expires, in ms as of `Date.now()`; `undefined` if it does not. */
    expiresAt: number | undefined;
  }

  /** Options of `watch()`. */
  interface SharedWatchOptions {
    /** Only this key. */
    key?: string;
    /** Only keys that begin with this. Default: all keys. */
    prefix?: string;
    /** Only what has happened behind this revision. Default: first what there is, then what happens. */
    since?: number;
    /**
     * Every change in order, however fast they come. Then the iterator throws `ERR_RCLUSTER_COMPACTED` where the
     * history does not go back that far. Default: `false`, the newest of each key.
     */
    history?: boolean;
    /** Ends the iteration, which throws the reason. */
    signal?: AbortSignal;
  }

  /** A change, or a word on the watch itself. */
  type SharedEvent<T = unknown> =
    | { type: 'set'; key: string; value: T; revision: number }
    | { type: 'delete' | 'expire' | 'evict'; key: string; revision: number }
    /** All keys that begin with `prefix` were deleted. */
    | { type: 'clear'; prefix: string; revision: number }
    /** All that had happened up to this revision has been told. Once, and once behind each `resync`. */
    | { type: 'synced'; revision: number }
    /** Changes have been missed: forget what you know. What there is comes next, and then `synced`. */
    | { type: 'resync'; revision: number };

  /** Operations that are done all at once, under one revision, or not at all. 1,024 at the most. */
  interface SharedBatch {
    /** Only if the value of the key is that of this revision; 0: if it has none. */
    check(key: string, revision: number): this;
    /** See `set()` of the store. */
    set(key: string, value: unknown, options?: SharedSetOptions): this;
    /** See `delete()` of the store. A key that has no value makes the whole batch not `ok`. */
    delete(key: string, options?: { ifRevision?: number }): this;
    /** See `increment()` of the store. */
    increment(key: string, by?: number, options?: { initial?: number; ttl?: number }): this;
    /** Does them. Once only. */
    commit(): Promise<SharedResult>;
  }

  /**
   * A store that the primary and all workers share. Reading takes no system call and waits for nobody. A write is settled
   * when every process sees it. Values are copies: changing one changes nothing in the store.
   *
   * Keys are strings of up to 1,024 bytes of UTF-8. Values are numbers, strings, booleans, `null` and Buffers, plain
   * objects and arrays, and all that structured clone knows (`Map`, `Set`, `Date`, typed arrays …).
   *
   * Writes reject with `ERR_RCLUSTER_FULL`, `ERR_RCLUSTER_TOO_LARGE`, `ERR_RCLUSTER_SHARED_VALUE`,
   * `ERR_RCLUSTER_SHARED_BACKLOG`, and with `ERR_RCLUSTER_GONE` in a worker whose primary is gone.
   */
  interface SharedStore {
    /** The value of a key, or `undefined`. */
    get<T = any>(key: string): T | undefined;
    /** Whether a key has a value. */
    has(key: string): boolean;
    /** The value of a key with its revision and its end, or `undefined`. */
    entry<T = any>(key: string): SharedEntry<T> | undefined;
    /** How many keys there are. Those that have expired in the last moments may count. */
    readonly size: number;
    /** The number of the last change. It rises with each. */
    readonly revision: number;
    /** All keys as they were at one revision, in the order of their bytes. Takes time with the size of the store. */
    keys(options?: { prefix?: string }): string[] & { revision: number };
    /** All keys and values as they were at one revision. */
    entries<T = any>(options?: { prefix?: string }): [string, T][] & { revision: number };
    /** How full it is. */
    stats(): SharedStats;
    /**
     * Gives a key a value.
     *
     * ```js
     * const sessions = cluster.shared('sessions');
     * await sessions.set(id, { user }, { ttl: 30 * 60_000 });
     * ```
     */
    set(key: string, value: unknown, options?: SharedSetOptions): Promise<SharedResult>;
    /** Deletes a key. */
    delete(key: string, options?: { ifRevision?: number }): Promise<SharedResult>;
    /** Has the value of a key expire in `ttl` ms from now; `Infinity`: never. Not `ok` if it has none. */
    touch(key: string, ttl: number): Promise<SharedResult>;
    /**
     * Adds to the number of a key, and says what it is then. Nothing is lost however many processes do it.
     * @param by Default: 1.
     * @param options `initial` is what it is taken for if it has no value (default: 0), `ttl` how many ms it lasts from
     * then on.
     * @throws `ERR_RCLUSTER_NOT_NUMBER` if its value is none.
     */
    increment(key: string, by?: number, options?: { initial?: number; ttl?: number }): Promise<number>;
    /** Deletes all keys, or all that begin with `prefix`. How many there were. */
    clear(options?: { prefix?: string }): Promise<number>;
    /** Begins a batch. */
    atomic(): SharedBatch;
    /**
     * Tells of changes. What there is comes first, then `synced`, then what happens. A watch that is slow takes no
     * memory. It does not keep the process alive.
     *
     * ```js
     * for await (const { type, key, value } of store.watch({ prefix: 'flag:' })) {
     *   if (type === 'set') flags.set(key, value);
     * }
     * ```
     */
    watch<T = any>(options?: SharedWatchOptions): AsyncIterableIterator<SharedEvent<T>>;
  }

  /** The result of `stats()` of a shared store. */
  interface SharedStats {
    /** How many keys there are. */
    keys: number;
    /** The number of the last change. */
    revision: number;
    /** Bytes that current values take with their keys. */
    bytes: number;
    /** How many there may be. */
    limit: number;
    /** Bytes of memory in use, with history and index. */
    memory: number;
    /** The longest value in bytes. */
    maxValue: number;
    /** How many keys have been evicted. */
    evicted: number;
    /** How many have expired. */
    expired: number;
  }

  /** The result of `schedulingStats()`. */
  interface SchedulingStats {
    /** The listeners whose connections the primary distributes. */
    listeners: (ConnectionCounts & {
      id: number;
      /** The port or path; empty for a descriptor. */
      name: string;
      /** How many workers listen there. */
      workers: number;
      /** How many connections wait in the primary. */
      waiting: number;
      /** How many clients were accepted since the listener was opened. */
      accepted: number;
      /** How many of them had to wait because no worker was ready. */
      queued: number;
      /** How many were reset or answered because no worker was ready. Absent unless an `overload.action` does so. */
      shed?: number | undefined;
    })[];
    /** The workers that are not dead. Counts are absent where no policy passes connections to workers (`none`). */
    workers: (Partial<ConnectionCounts> & {
      id: number;
      /** The slot, which a replacement gets; `null` for a leaving worker. */
      slot: number | null;
      /** Connections in flight to it. */
      inFlight?: number | undefined;
      /** Connections that it has open. */
      open?: number | undefined;
      /** Whether its event loop is blocked while a connection waits for it. */
      stalled?: boolean | undefined;
    })[];
    /**
     * What the functions of `schedule()` were asked: `asked` is `answered`, `late`, `refused` and those that wait. Absent
     * unless there is such a function.
     */
    hook?:
      | {
          /** How many connections were asked about. */
          asked: number;
          /** How many answers came in time. */
          answered: number;
          /** How many did not. */
          late: number;
          /** How many answers were none: an error, a promise, something that is no worker. */
          refused: number;
          /** How many connections were not asked about: an answer was overdue, or too many waited for theirs. */
          unasked: number;
          /** How many wait for an answer, or to be asked about. */
          waiting: number;
        }
      | undefined;
  }

  /** An address that is forwarded. Times are in milliseconds. */
  interface ForwardOptions {
    /** The port that clients connect to; 0 for any that is free. Needed unless there is a `path`. */
    port?: number | undefined;
    /** The IP address that clients connect to. Default: all, of IPv6 and IPv4. */
    host?: string | undefined;
    /** A Unix socket that clients connect to, in place of `port` and `host`. */
    path?: string | undefined;
    /** How many clients may wait in the kernel. Default: 511. */
    backlog?: number | undefined;
    /**
     * Whether a worker gets a TCP port of its own, on 127.0.0.1, or the path of a Unix socket, which is cheaper and which
     * no other user can listen at. Default: `'path'` for workers in Node, `'port'` for other programs (`execPath`).
     */
    to?: 'port' | 'path' | undefined;
    /** The environment variable by which a worker knows its port or path. Default: `'PORT'`. */
    env?: string | undefined;
    /**
     * Which of the workers that are ready gets the next client: the next in turn, the one with the fewest connections,
     * or, for the same IP address, always the one of the same slot. Default: `'round-robin'`.
     */
    policy?: 'round-robin' | 'least-connections' | 'sticky' | undefined;
    /** Whether, and in which version, a PROXY protocol header with the client's address comes first. Default: `false`. */
    proxyProtocol?: false | 1 | 2 | undefined;
    /** How long a client waits until a worker accepts it; then it is reset. Default: 10000. */
    connectTimeout?: number | undefined;
    /** How long a connection may go without a byte; then it is closed. Default: 0, for ever. */
    idleTimeout?: number | undefined;
    /** The same for a connection of which one side has ended. 0 is for ever. Default: 120000. */
    halfOpenTimeout?: number | undefined;
    /**
     * How many connections there may be; other clients wait in the backlog. Default: 0, which is half of the descriptors
     * that the primary may open (its soft limit, less 64, or a quarter if it is below 256), since each connection takes
     * two. Whatever this says, clients never take those last descriptors: they are kept for starting workers.
     */
    maxConnections?: number | undefined;
  }

  /** What is currently forwarded at one address. */
  interface Forwarding {
    /** Where clients connect. */
    address: { address: string; port: number } | { path: string };
    /** How many connections there are, including those that wait. */
    connections: number;
    /** How many clients wait for a worker, in addition to those in the backlog. */
    waiting: number;
    /** How many clients have connected so far. */
    accepted: number;
    /** How often a worker did not accept a client, which then went to another or waited. */
    refusals: number;
    /** How many clients were reset because no worker accepted them in time. */
    turnedAway: number;
    /** How many connections ended because no byte moved for too long. */
    timedOut: number;
    /** The workers that are forwarded to or have connections, each with their number. */
    workers: { id: number; connections: number }[];
  }

  /** At most `max` restarts in any `period`. */
  interface RestartIntensity {
    /** How many; with 0 the first failure is one too many. Default: 60. */
    max?: number | undefined;
    /** In how much time, in ms. Default: 60,000. */
    period?: number | undefined;
  }

  /** How a supervised cluster is kept up. All times are in ms. */
  interface SuperviseOptions {
    /** How many workers there are; `'auto'` is `availableParallelism()`. 1 to 1,024. Default: `'auto'`. */
    workers?: number | 'auto' | undefined;
    /** How many started workers wait, without connections, to take over from one that dies. Default: 0. */
    standby?: number | undefined;
    /** When a worker that has ended is replaced: always, except after exit code 0, or never. Default: `'always'`. */
    restart?: 'always' | 'on-failure' | 'never' | undefined;
    /** Exit codes after which a worker is not replaced, whatever `restart` says. Default: none. */
    stopExitCodes?: readonly number[] | undefined;
    /**
     * How often the worker of one slot may be restarted. Default: 60 times in 60 seconds. A script that cannot start does
     * not reach this because of `backoff`; `startUpLimit` limits that. A worker that retires, and serves until its successor
     * is ready, does not count.
     */
    restartIntensity?: RestartIntensity | undefined;
    /** How often all of them together. Default: that of a slot times the number of workers. */
    totalIntensity?: RestartIntensity | undefined;
    /** How long to wait before a restart. */
    backoff?:
      | {
          /** The first wait. Default: 100. */
          initial?: number | undefined;
          /** The longest. Default: 15,000. */
          max?: number | undefined;
          /** By how much it grows each time, 1 to 100. Default: 2. */
          factor?: number | undefined;
          /** The fraction by which it varies at random, 0 to 1. Default: 0.2. */
          jitter?: number | undefined;
          /** This many failures in a row of workers that had been ready are restarted without delay. Default: 5. */
          immediate?: number | undefined;
          /** When a worker has been ready for this long, the count of failures starts again. Default: 1,000. */
          resetAfter?: number | undefined;
        }
      | undefined;
    /**
     * After too many restarts: continue with fewer workers as long as there is one, or shut down and exit. Default:
     * `'degrade'`.
     */
    onGiveUp?: 'degrade' | 'exit' | undefined;
    /**
     * The exit code of the primary in that case, and when no slot has a worker or will get one again because of failures.
     * 0 to 255. Default: 70.
     */
    giveUpExitCode?: number | undefined;
    /**
     * As long as no worker of the cluster has ever been ready: how long starting is retried in a slot, with at least two
     * restarts, before the slot is given up. 0 is forever. Default: 60,000.
     */
    startUpLimit?: number | undefined;
    /**
     * When a worker is ready: when it runs, when its first server listens, or when it calls `cluster.worker.ready()`.
     * Default: `'listening'`.
     */
    ready?: 'online' | 'listening' | 'explicit' | undefined;
    /** A worker that is not ready by then has failed to start. Default: 30,000. */
    readyTimeout?: number | undefined;
    /** How long a worker may take to finish what it has begun, before it is forced to end. Default: 8,000. */
    drainTimeout?: number | undefined;
    /** How long after SIGTERM the worker gets SIGKILL. Default: 1,000. */
    killTimeout?: number | undefined;
    /** How long the event loop of a worker may be blocked before the worker is replaced; 0: forever. Default: 0. */
    unresponsiveAfter?: number | undefined;
    /** Limits at which a healthy worker is replaced; 0 for never. */
    recycle?:
      | {
          /** Bytes of resident memory. Default: 0. */
          memory?: number | undefined;
          /** Its age. Default: 0. */
          age?: number | undefined;
          /** Connections that it has received. Default: 0. */
          connections?: number | undefined;
          /** The fraction by which these limits vary from worker to worker, 0 to 1. Default: 0.1. */
          jitter?: number | undefined;
        }
      | undefined;
    /** Whether an uncaught exception or unhandled rejection retires a worker instead of ending it. Default: `true`. */
    retireOnException?: boolean | undefined;
    /**
     * The environment variable that contains the slot of a worker, for example `'NODE_APP_INSTANCE'` as under pm2, or `false`
     * for none. The slot is always in `cluster.worker.slot`. Default: `false`, because node-config reads `NODE_APP_INSTANCE`
     * and looks for configuration files with its value in their name.
     */
    instanceVar?: string | false | undefined;
    /** How many workers `reload()` replaces at a time. Default: 1. */
    reloadConcurrency?: number | undefined;
    /**
     * Whether SIGTERM and SIGINT to the primary shut the cluster down, after which it exits with code 0; a second one
     * ends `shutdownDelay`, or else kills the workers. Default: `true`.
     */
    signals?: boolean | undefined;
    /**
     * The time between SIGTERM to the primary and the drains. Until then connections are accepted, while the event
     * `stopping` and the statistics announce the shutdown. Default: 0.
     */
    shutdownDelay?: number | undefined;
    /** How long the drains of a shutdown may take. Default: `drainTimeout`. */
    shutdownTimeout?: number | undefined;
    /**
     * What is written to stderr: nothing; failures and their consequences (`'warn'`), of which equal ones are
     * counted and summarised every 10 seconds; or every event (`'info'`). A function gets every event instead, and
     * nothing is written. Default: `'warn'`.
     *
     * ```js
     * cluster.supervise({ log: ({ level, message, name, facts }) => logger[level]({ name, ...facts }, message) });
     * ```
     */
    log?: false | 'warn' | 'info' | ((event: SupervisorLogEvent) => void) | undefined;
  }

  /** What the option `log` of `supervise()` gets. */
  interface SupervisorLogEvent {
    /** The event of the supervisor. */
    name: keyof SupervisorEventMap;
    /** `'warn'` for failures and their consequences. */
    level: 'warn' | 'info';
    /** One line of text, or several with a stack. */
    message: string;
    /** What the listeners of the event get. */
    facts: Record<string, any>;
  }

  /** What every event about a worker has. */
  interface AboutWorker {
    /** Its id. */
    worker: number;
    /** Its process id, if it is known. */
    pid?: number;
    /** Its slot; null for a standby. */
    slot: number | null;
  }

  /** How a worker has ended. */
  interface AboutEnd {
    /** Its id; null if it could not even be started. */
    worker: number | null;
    pid?: number;
    /** Its slot; null for a standby. */
    slot: number | null;
    /** Its exit code, if it has exited. */
    code: number | null;
    /** The signal that ended it, if one did. */
    signal: string | null;
    /** The reason in words. */
    reason: string;
  }

  /** The events of a supervisor, with causes and figures. Times are in ms. */
  interface SupervisorEventMap {
    /** A worker has been started. */
    spawn: [
      facts: AboutWorker & {
        cause: 'start' | 'restart' | 'retire' | 'recycle' | 'unresponsive' | 'reload' | 'scale' | 'standby';
      },
    ];
    /** A worker is ready, `bootMs` after it was started. */
    ready: [facts: AboutWorker & { bootMs: number }];
    /** A worker has failed, and another takes its place after `delay`. */
    restart: [facts: AboutEnd & { phase: 'start-up' | 'service'; delay: number; restarts: number }];
    /** A slot waits before its next worker. */
    backoff: [facts: { slot: number | null; delay: number; failures: number }];
    /** There have been too many restarts, and the slot is given up. */
    'gave-up': [facts: AboutEnd & { scope: 'slot' | 'total' | 'start-up'; restarts: number; period: number }];
    /** A worker is replaced and drains, because the app, an exception or a signal has asked for it. */
    retire: [facts: AboutWorker & { reason: string; detail: string; by: 'worker' | 'primary' }];
    /** A worker has not finished in time and is forced to end. */
    'drain-timeout': [facts: AboutWorker & { connections: number | null; resources: Record<string, number> }];
    /**
     * A draining worker has nothing left to serve, and ends. `resources` counts what still keeps its event loop alive, by
     * the names of `process.getActiveResourcesInfo()`.
     */
    drained: [facts: AboutWorker & { resources: Record<string, number> }];
    /**
     * The event loop of a worker is blocked: it is replaced and killed. `stack` says where, if that can be determined; it
     * goes through source maps if workers are started with `--enable-source-maps`. 'restart' follows.
     */
    unresponsive: [facts: AboutWorker & { silentFor: number; stack: string | null }];
    /** A worker is replaced because it has reached a limit: memory (bytes), age (ms) or connections. */
    recycle: [facts: AboutWorker & { cause: 'memory' | 'age' | 'connections'; value: number; limit: number }];
    /** A reload begins, is done, or has failed. */
    reload: [
      facts:
        | { phase: 'start'; slots: number; concurrency: number }
        | { phase: 'done'; tookMs: number }
        | { phase: 'failed'; reason: string; reloaded: number },
    ];
    /** A standby takes over a slot. */
    promote: [facts: AboutWorker & { standbyFor: number }];
    /** A worker has ended and, by `restart` or `stopExitCodes`, is not replaced. */
    stopped: [facts: AboutEnd];
    /** The cluster will shut down in `delay` ms, and serves until then. */
    stopping: [facts: { signal: string | null; delay: number }];
    /**
     * The cluster shuts down; `signal` is the one that asked for it. If it `gaveUp`, `reason` is the last failure, and the
     * primary exits with `exitCode`; else both are null.
     */
    shutdown: [
      facts: {
        signal: string | null;
        gaveUp: boolean;
        reason: string | null;
        exitCode: number | null;
        timeout: number;
      },
    ];
  }

  /** The state of a supervised cluster. */
  interface SupervisorStats {
    /** The number of workers that there should be. */
    workers: number;
    /** How many slots have a ready worker. */
    ready: number;
    /** How many worker processes there are, whatever their state. */
    processes: number;
    /** How many of them drain or are being killed. */
    draining: number;
    standby: { ready: number; starting: number };
    /** How many restarts there have been in all. */
    restarts: number;
    reloading: boolean;
    /** The shutdown has been announced, or has begun. */
    stopping: boolean;
    shuttingDown: boolean;
    slots: {
      slot: number;
      state: 'filling' | 'serving' | 'backing-off' | 'given-up' | 'stopped' | 'emptying';
      /** The id of its worker. */
      worker: number | null;
      /** The id of the one that is starting to take its place. */
      successor: number | null;
      restarts: number;
      /** Failures in a row, without a worker that was ready for `resetAfter` in between. */
      failures: number;
      /** The process id of its worker. */
      pid: number | null;
      /** How long ago its worker was started, in ms. */
      uptime: number | null;
      /** The resident memory of its worker, in bytes. Null where there is no native part. */
      memory: number | null;
      /**
       * The share of time in which the event loop of its worker was busy, 0 to 1: since the last call of `stats()`, or since
       * the worker was started. Null for a worker that is not Node, and where there is no native part.
       */
      utilization: number | null;
      /** How the last worker of this slot has ended, and when, in ms as `Date.now()` counts them; null if none has. */
      lastExit: {
        worker: number;
        pid: number | null;
        code: number | null;
        signal: string | null;
        reason: string;
        at: number;
      } | null;
    }[];
    /** What `schedulingStats()` returns. */
    scheduling: SchedulingStats;
  }

  /** The primary's object for a supervised cluster. Decisions are made and carried out on a native thread. */
  interface Supervisor extends EventEmitter {
    // Only the events that there are: a misspelt one is an error.
    addListener<E extends keyof SupervisorEventMap>(
      event: E,
      listener: Listener<SupervisorEventMap[E]>,
    ): this;
    on<E extends keyof SupervisorEventMap>(event: E, listener: Listener<SupervisorEventMap[E]>): this;
    once<E extends keyof SupervisorEventMap>(event: E, listener: Listener<SupervisorEventMap[E]>): this;
    prependListener<E extends keyof SupervisorEventMap>(
      event: E,
      listener: Listener<SupervisorEventMap[E]>,
    ): this;
    prependOnceListener<E extends keyof SupervisorEventMap>(
      event: E,
      listener: Listener<SupervisorEventMap[E]>,
    ): this;
    off<E extends keyof SupervisorEventMap>(event: E, listener: Listener<SupervisorEventMap[E]>): this;
    removeListener<E extends keyof SupervisorEventMap>(
      event: E,
      listener: Listener<SupervisorEventMap[E]>,
    ): this;
    emit<E extends keyof SupervisorEventMap>(event: E, ...args: Arguments<SupervisorEventMap[E]>): boolean;

    /** The workers by slot. */
    readonly workers: (Worker | undefined)[];

    /** Resolves when the cluster has been shut down and all workers have ended. */
    readonly closed: Promise<void>;

    /**
     * Changes the number of workers: starts some, or drains those with the highest slots.
     * @param workers 1 to 1,024.
     * @returns Resolves when the new workers are ready, or the surplus ones have ended.
     */
    scale(workers: number): Promise<void>;

    /**
     * Replaces all workers by new ones, without downtime: each old one drains when its successor is ready. They are started
     * with the environment, the settings and the files as they are now. If one does not get ready, the reload stops
     * and the old ones that are left stay. A reload that is called while one runs joins it.
     *
     * ```js
     * process.on('SIGHUP', () => supervisor.reload().catch((error) => console.error('still the old code:', error.message)));
     * ```
     * @param options `concurrency`: how many at a time.
     * @returns Rejects with `ERR_RCLUSTER_NOT_READY`, `ERR_RCLUSTER_SHUT_DOWN`, or as `supervise()` throws for wrong options.
     */
    reload(options?: { concurrency?: number }): Promise<void>;

    /**
     * Drains all workers and starts no more.
     * @param options `timeout`: how long the drains may take, in ms, before workers are forced to end. `delay`: the time in
     * ms before they begin; until then the cluster serves, and the event `stopping` announces the shutdown. A second call
     * ends the delay.
     * @returns Resolves when all workers have ended.
     */
    shutdown(options?: { timeout?: number; delay?: number }): Promise<void>;

    /** The state of the cluster. */
    stats(): SupervisorStats;
  }

  /** Where a worker listens. */
  interface Address {
    /** The address as the worker gave it; `null` if it gave none. For a Unix socket, its path. */
    address: string;
    /** The port it really got; -1 for a Unix socket. */
    port: number;
    /** 4 or 6 for TCP, -1 for a Unix socket. */
    addressType: 4 | 6 | -1 | 'udp4' | 'udp6';
  }

  /** The events of a worker with the arguments of their listeners. */
  interface WorkerEventMap {
    /** The IPC channel is closed: after `disconnect()`, or because the worker ended. */
    disconnect: [];
    /** The worker could not be started, could not be signalled, or a message could not be sent to it. */
    error: [error: Error];
    /** The worker has ended, with an exit code or by a signal; the other one is `null`. */
    exit: [code: number, signal: string];
    /** A server or UDP socket of the worker listens. */
    listening: [address: Address];
    /** The worker has called `process.send()`; `handle` is undefined if it sent none. */
    message: [message: any, handle: any];
    /** The worker runs. It has not necessarily begun with the app's code. */
    online: [];
    /** In the worker: it is no longer a standby, and gets connections from now on. Not in the built-in. */
    promote: [facts: { slot: number }];
    /**
     * In the worker: it drains. Its servers are closed; connections that are not HTTP, such as
     * WebSockets, have to be ended by the app. `deadline` is when it will be forced to end, in ms as `Date.now()` counts them,
     * or null if it will not be forced. The worker waits for promises that listeners return. Not in the built-in.
     *
     * ```js
     * cluster.worker.on('retire', () => {
     *   for (const socket of webSocketServer.clients) socket.close(1001);
     * });
     * ```
     */
    retire: [facts: { reason: string; deadline: number | null }];
  }

  /** The events of the cluster: those of all workers with the worker in front, and two of its own. */
  interface ClusterEventMap {
    disconnect: [worker: Worker];
    exit: [worker: Worker, code: number, signal: string];
    /** A worker has been forked; emitted on the next tick. */
    fork: [worker: Worker];
    listening: [worker: Worker, address: Address];
    message: [worker: Worker, message: any, handle: any];
    online: [worker: Worker];
    /** `setupPrimary()` was called, be it by `fork()`; emitted on the next tick with the settings of that call. */
    setup: [settings: ClusterSettings];
  }

  /** The methods of an emitter that take a listener or emit, for the events in `Events` and for any other. */
  interface TypedEmitter<Events> extends EventEmitter {
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

  type Arguments<T> = T extends any[] ? T : never;
  type Listener<T> = (...args: Arguments<T>) => void;

  interface WorkerOptions {
    /** Default: 0. */
    id?: number | undefined;
    /** The process whose 'error' and 'message' events the worker repeats. Default: none. */
    process?: ChildProcess | undefined;
    /** Default: `'none'`. */
    state?: string | undefined;
  }

  interface WorkerConstructor {
    new (options?: WorkerOptions): Worker;
    readonly prototype: Worker;
  }

  /** A worker: in the primary one of `cluster.workers`, in the worker itself `cluster.worker`. */
  interface Worker extends WorkerMembers {}

  /** The cluster object. In a worker it has only the members that are marked so; the others are undefined there. */
  interface Cluster extends TypedEmitter<ClusterEventMap> {
    /** Whether this process is a worker. In workers, too. */
    readonly isWorker: boolean;

    /**
     * The same as `isPrimary`. In workers, too.
     * @deprecated
     */
    readonly isMaster: boolean;

    /** Whether this process forks workers and is none itself. In workers, too. */
    readonly isPrimary: boolean;

    /** This worker. Only in workers. */
    readonly worker?: Worker;

    /** The class of workers. In workers, too. */
    readonly Worker: WorkerConstructor;

    /** The workers by id. One is removed when `disconnect()` is called, else when it is both disconnected and dead. */
    readonly workers?: NodeJS.Dict<Worker>;

    /** The settings of the last `setupPrimary()` or `fork()`; empty before the first. */
    readonly settings: ClusterSettings;

    /** The policy by which the kernel decides which worker accepts a connection. */
    readonly SCHED_NONE: number;

    /** The policy by which the primary gives connections to workers in turn. */
    readonly SCHED_RR: number;

    /** The policy by which a worker with few connections gets the next one. Not in the built-in. */
    readonly SCHED_LEAST_CONNECTIONS: number;

    /** The policy by which a worker whose event loop has little to do gets the next one. Not in the built-in. */
    readonly SCHED_LEAST_LOADED: number;

    /** The policy by which a client always gets to the same worker. Not in the built-in. */
    readonly SCHED_STICKY: number;

    /** The policy by which the kernel gives each worker an equal share on a socket of its own. Not in the built-in. */
    readonly SCHED_KERNEL: number;

    /** What `schedulingPolicy` says when a function decides. It takes `schedule()` to get there. Not in the built-in. */
    readonly SCHED_HOOK: number;

    /**
     * One of these; what counts is the value at the first `setupPrimary()` or `fork()`. `scheduling.policy` sets it.
     * Default: `SCHED_RR`, or what the environment variable NODE_CLUSTER_SCHED_POLICY says, `rr` or `none`.
     */
    schedulingPolicy: number;

    /**
     * Changes settings for later forks. What is not mentioned stays as it is.
     *
     * ```js
     * cluster.setupPrimary({ exec: 'worker.js', args: ['--verbose'], silent: true });
     * cluster.fork().process.stdout.pipe(process.stdout);
     * ```
     * @throws {Error} `ERR_INTERNAL_ASSERTION` at the first call, if `schedulingPolicy` is none of the policies.
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
     * 'error' and 'disconnect' and neither 'online' nor 'exit'.
     * @throws {Error} For wrong settings what `child_process.fork()` throws: `ERR_INVALID_ARG_TYPE`,
     * `ERR_CHILD_PROCESS_IPC_REQUIRED`, `EPERM` for a `uid` that is not allowed and others; `ERR_SOCKET_BAD_PORT` for
     * `inspectPort`.
     */
    fork(env?: any): Worker;

    /**
     * Calls `disconnect()` on all workers.
     * @param callback Called, without arguments and never at once, when a worker is gone and none is listed.
     */
    disconnect(callback?: () => void): void;

    /**
     * Starts workers and keeps them up: those that die, hang, grow too big or throw are replaced, within limits. It is
     * decided and done on a native thread, also while the primary's JavaScript is busy. Not in the built-in.
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
     * `ERR_RCLUSTER_NOT_PRIMARY` in a worker. Where there is no native part it runs in JavaScript; docs/platform.md says with
     * which limits.
     */
    supervise(options?: SuperviseOptions): Supervisor;

    /**
     * How many workers make sense: the number of CPUs that this process may use, which is also limited by its CPU
     * affinity and by the CPU quota of its container. At least 1. Not in the built-in. In workers, too.
     */
    availableParallelism(): number;

    /**
     * What is forwarded just now, in the order of `settings.forward`; empty without that. Not in the built-in.
     *
     * ```js
     * cluster.setupPrimary({ forward: { port: 0, host: '127.0.0.1' } });
     * const [{ address }] = cluster.forwarding();
     * ```
     */
    forwarding(): Forwarding[];

    /**
     * Has a function decide where connections go, at all listeners which have no policy of their own. That is short for
     * `setupPrimary({ scheduling: { policy: choose, hook: options } })`, where all else in `scheduling` stays as it is.
     * docs/balancing.md tells what it costs. Not in the built-in.
     *
     * ```js
     * // Clients of the office get the workers of the first slot, everybody else the one with the fewest connections.
     * cluster.schedule(({ remoteAddress = '' }, workers) => {
     *   const [first, ...others] = workers.sort((one, other) => one.slot - other.slot);
     *   if (remoteAddress.startsWith('10.1.') || others.length === 0) return first;
     *   return others.reduce((least, other) => (other.connections < least.connections ? other : least));
     * });
     * ```
     * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if `choose` is no function; as `setupPrimary()` for wrong options.
     * @throws {Error} `ERR_RCLUSTER_TOO_LATE` once a worker has been forked, unless it changes nothing;
     * `ERR_RCLUSTER_NOT_PRIMARY` in a worker; `ERR_RCLUSTER_UNSUPPORTED_PLATFORM` where there is no native part.
     */
    schedule(choose: ScheduleHook, options?: HookOptions): void;

    /**
     * What has been done with connections so far, by listener and by worker. Not in the built-in.
     *
     * ```js
     * setInterval(() => {
     *   for (const { name, waiting, shed } of cluster.schedulingStats().listeners) console.log(name, waiting, shed);
     * }, 1000);
     * ```
     */
    schedulingStats(): SchedulingStats;

    /**
     * Opens a store that the primary and all workers share, and makes it if there is none of the name. In the primary, in
     * workers of `fork()` and `supervise()`, and in a process without workers. Costs nothing until it is called. On Linux
     * only.
     *
     * ```js
     * const hits = cluster.shared('hits');
     * const count = await hits.increment(address, 1, { ttl: 60_000 });
     * ```
     * @param name Up to 256 bytes. Each name is a store of its own.
     * @throws `ERR_RCLUSTER_SHARED_OPTIONS` if it is open with other options; `ERR_RCLUSTER_SHARED` if it cannot be had;
     * `ERR_RCLUSTER_UNSUPPORTED_PLATFORM` elsewhere than on Linux.
     */
    shared(name: string, options?: SharedOptions): SharedStore;

    /**
     * A new random identifier that leads back to this worker: a client that shows it, where the `sticky` option says to
     * look, gets to the worker that made it or to its replacement. Only in workers. Not in the built-in.
     *
     * ```js
     * // The primary: cluster.setupPrimary({ scheduling: { policy: 'sticky', sticky: { by: 'query', name: 'sid' } } });
     * const io = new Server(server);
     * io.engine.generateId = () => cluster.stickyId();
     * ```
     */
    stickyId(): string;
  }
}

// What a `Worker` has. It stands apart because `Worker` is a value and a type in one name, and where TypeScript joins the
// two, methods that return `this` keep their type only if they are inherited.
interface WorkerMembers extends cluster.TypedEmitter<cluster.WorkerEventMap> {
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
   * @returns `false` if so many messages wait that it would be better not to send more.
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
   * Makes the worker close all its servers, let open connections end and then close the channel. It gets no new
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
   * Makes the worker take no more connections, finish what it has begun, and end. No request of a client fails: idle
   * HTTP connections are handed over to other workers where that can be, answers still to come say `Connection: close`,
   * and HTTP/2 sessions get GOAWAY. A supervised worker is replaced first. It can be called on either side; at a second call, and after
   * `disconnect()`, nothing happens. Not in the built-in.
   *
   * ```js
   * // In a worker that has found out that it is not well:
   * cluster.worker.retire('lost the database');
   * ```
   * @param reason For the events that tell of it; the first 64 characters count. Default: `'retire'`.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` in a worker, if the reason is no string.
   */
  retire(reason?: string): void;

  /**
   * In the worker: says that it can be counted on, for a supervisor with `ready: 'explicit'`. Of no effect for others
   * or when it is repeated. Not in the built-in.
   */
  ready(): void;

  /** Whether the channel is open. */
  isConnected(): boolean;

  /** Whether the process has ended, by itself or by a signal. */
  isDead(): boolean;
}

export = cluster;
