// The stores of `shared()`. See index.d.ts.

/** Options of a shared store. If the store is already open, pass the same options, or none. */
export interface SharedOptions {
  /**
   * How much memory its values may take: a number of bytes, or a string such as `'2048KB'`, `'64MB'`, `'1GB'`. From 1 MB to
   * 64 GB; a part of it is reserved for compaction. Unused space takes no memory. Default: `'64MB'`.
   */
  size?: number | string | undefined;
  /**
   * What happens when the store is full. `'none'`: writes that need more space reject with `ERR_RCLUSTER_FULL`. `'lru'`: the
   * least recently used keys are evicted. Default: `'none'`.
   */
  eviction?: 'none' | 'lru' | undefined;
  /**
   * The file to which the store is saved, and from which it is loaded when the primary restarts. The primary must be the first
   * to open the store. See docs/shared-state.md for what is saved when. Default: `false`, the store ends with the primary.
   */
  persist?: string | false | undefined;
  /**
   * The server that holds its values, so that several machines can share the store: a URL such as `'redis://host:6379'`
   * (`rediss:`, `redis+unix:`, `redis+sentinel:`, `redis+cluster:`), or an object. See docs/redis.md. Default: none.
   */
  backend?: string | SharedBackend | undefined;
  /** What happens while the server cannot be reached. */
  offline?:
    | {
        /**
         * How long a write waits for the server, in ms, from 0 to a day, before it rejects with `ERR_RCLUSTER_DISCONNECTED`. With 0
         * it rejects immediately. Default: 1,000.
         */
        wait?: number | undefined;
      }
    | undefined;
  /**
   * The source from which the content of the store is loaded. You can pass it later than the other options, and in some
   * processes only: only a process that has passed it can load.
   */
  source?: SharedSource | undefined;
}

/** A Redis or Valkey server. Set one of `url`, `nodes` and `sentinels`. */
export interface SharedBackend {
  /** The URL of the server. */
  url?: string | undefined;
  /** Nodes of a Redis Cluster, as `'host:port'`. Default port: 6379. */
  nodes?: string[] | undefined;
  /** Sentinels that know the address of the server, as `'host:port'`. Default port: 26379. No password is sent to them. */
  sentinels?: string[] | undefined;
  /** The name of the server at the sentinels. */
  name?: string | undefined;
  /** Default: that of the URL, or the default user. */
  username?: string | undefined;
  /** Default: that of the URL, or none. It is only sent to the server. */
  password?: string | undefined;
  /** The number of the database. Default: that of the URL, or 0. */
  database?: number | undefined;
  /** TLS, with certificates in PEM. Default: as in the URL. Without `ca`, the system's certificates are trusted. */
  tls?:
    | boolean
    | {
        ca?: string | Buffer | undefined;
        cert?: string | Buffer | undefined;
        key?: string | Buffer | undefined;
      }
    | undefined;
  /** The prefix of all keys on the server. Default: `'rcluster:'`. */
  prefix?: string | undefined;
}

/** The state of the connection to a store's server. */
export interface SharedBackendStats {
  /** `'connecting'` until the server is reached for the first time. Writes are sent immediately only while it is `'following'`. */
  state: 'connecting' | 'loading' | 'following' | 'offline';
  /** The URL of the server, without the password. */
  url: string;
  /** How many ms ago this machine was last up to date with the server; `undefined` if it never was. */
  lag: number | undefined;
  /** The id of the last entry that was read from the server's stream of changes. */
  lastId: string | undefined;
  /** How many requests of this machine are unanswered; updated about once a second. */
  queued: number;
  /** How often the connection was re-established. */
  reconnects: number;
  /** How often the whole store was loaded. */
  loads: number;
  /** The last failure, until a write succeeds or the connection is made again. */
  error: string | undefined;
}

/** The result of a load: values by key, or items if the source has a `key`. */
export type SharedLoaded = Record<string, unknown> | ReadonlyMap<string, unknown> | Iterable<unknown>;

/** The options of all sources. */
export interface SharedSourceBase {
  /** The key of each item: the name of a property, or a function. For arrays and other iterables of items. */
  key?: string | ((item: any) => string) | undefined;
  /** How long a load may take, in ms, before its signal is aborted and the load fails. Default: 30,000. */
  timeout?: number | undefined;
}

/**
 * One process of the cluster loads every `every` ms, ± 10 %. If it dies or retires, another process takes over. Changed values
 * are written to the store, keys that no longer exist are deleted, and all processes see the changes. If a load fails, the
 * store keeps its content.
 */
export interface SharedLoadSource extends SharedSourceBase {
  load: (facts: { signal: AbortSignal }) => SharedLoaded | Promise<SharedLoaded>;
  /** The interval between the starts of two loads, in ms. */
  every: number;
}

/** A file, which is loaded when it changes. The same rules apply as for `SharedLoadSource`. */
export interface SharedFileSource extends SharedSourceBase {
  /** The path of the file. Neither the file nor its directory has to exist. */
  file: string;
  /** Parses the text of the file. Default: `JSON.parse`. */
  parse?: ((text: string) => SharedLoaded | Promise<SharedLoaded>) | undefined;
  /** Also loads the file at this interval, in ms, for file systems that do not report changes, such as NFS. Default: never. */
  every?: number | undefined;
}

/** Each process loads for itself, into a store of its own. */
export interface SharedPollingSource extends SharedSourceBase {
  load: (facts: { signal: AbortSignal }) => SharedLoaded | Promise<SharedLoaded>;
  /** The interval between the starts of two loads of this process, in ms. */
  polling: number;
}

/** See the option `source`. */
export type SharedSource = SharedLoadSource | SharedFileSource;

/** The state of a source. */
export interface SharedSourceStats {
  /** When it was last loaded, in ms since the epoch; `undefined` if it never was. */
  loadedAt: number | undefined;
  /** How long ago that was, in ms. */
  age: number | undefined;
  /** How many loads have succeeded. */
  loads: number;
  /** How many loads have failed since the last successful one. */
  failures: number;
  /** When the last of these failed, in ms since the epoch. */
  failedAt: number | undefined;
  /** The error of the last failed load. */
  error: unknown;
  /** Whether this process is the one that loads. */
  here: boolean;
}

/** A counter to which each process adds on its own. */
export interface SharedTally {
  readonly name: string;
  /** Adds a finite number to the counter. Default: 1. */
  add(by?: number): void;
  /** The sum of what all processes have added, including processes that have ended. */
  readonly value: number;
  /** The sum of what this process has added. */
  readonly own: number;
}

/** Options of `set()`. */
export interface SharedSetOptions {
  /** The time in ms after which the value expires. Default: never. */
  ttl?: number | undefined;
  /** Keep the expiry time of the previous value. Default: `false`. */
  keepTtl?: boolean | undefined;
  /** Write only if the key has no value. Default: `false`. */
  ifAbsent?: boolean | undefined;
  /** Write only if the value still has this revision; with 0, only if the key has no value. */
  ifRevision?: number | undefined;
}

/** The result of a write. */
export interface SharedResult {
  /** False if the condition was not met or there was nothing to change. In this case, the store is unchanged. */
  ok: boolean;
  /**
   * The revision of the change; of a batch that only checks, the revision of the store. If `ok` is false: the revision of the
   * key's current value, or 0.
   */
  revision: number;
}

/** A value with its metadata. */
export interface SharedEntry<T = unknown> {
  value: T;
  /** The revision of the last change of the key: the write of the value, or a later `touch()`. */
  revision: number;
  /** When the value expires, in ms since the epoch; `undefined` if it does not. */
  expiresAt: number | undefined;
}

/** Options of `watch()`. */
export interface SharedWatchOptions {
  /** Only this key. */
  key?: string | undefined;
  /** Only keys that begin with this. Default: all keys. */
  prefix?: string | undefined;
  /**
   * Only changes after this revision. If the store has not reached it, because it was started anew, `resync` comes first. Default:
   * first the current content, then all changes.
   */
  since?: number | undefined;
  /**
   * Every change in order, even if changes arrive faster than they are read. In this mode, the iterator throws
   * `ERR_RCLUSTER_COMPACTED` if the history does not go back far enough, or does not reach `since`. Default: `false`, the latest
   * change of each key.
   */
  history?: boolean | undefined;
  /** Ends the iteration, which throws the reason. */
  signal?: AbortSignal | undefined;
}

/** A change, or an event about the watch itself. */
export type SharedEvent<T = unknown> =
  | { type: 'set'; key: string; value: T; revision: number }
  | { type: 'delete' | 'expire' | 'evict'; key: string; revision: number }
  /** All keys that begin with `prefix` were deleted. */
  | { type: 'clear'; prefix: string; revision: number }
  /** Everything up to this revision has been delivered, or what replaced it. Sent once, and once after each `resync`. */
  | { type: 'synced'; revision: number }
  /** Changes have been missed: discard your copy. The current content follows, and then `synced`. */
  | { type: 'resync'; revision: number };

/**
 * Up to 1,024 operations, together about as large as the largest value, that are applied atomically, under one revision, or not at
 * all.
 */
export interface SharedBatch<V = any> {
  /** Requires that the value of the key has this revision; with 0, that the key has no value. */
  check(key: string, revision: number): this;
  /** See `set()` of the store. */
  set(key: string, value: V, options?: SharedSetOptions): this;
  /** See `delete()` of the store. If the key has no value, the whole batch fails with `ok: false`. */
  delete(key: string, options?: { ifRevision?: number | undefined }): this;
  /** See `increment()` of the store. */
  increment(
    key: string,
    by?: number,
    options?: { initial?: number | undefined; ttl?: number | undefined },
  ): this;
  /** Applies the operations. Can be called once. */
  commit(): Promise<SharedResult>;
}

/**
 * A store that the primary and all workers share. Reading takes no system call and never waits. The promise of a write settles
 * when every process can see the change. Values are copies: changing one does not change the store.
 *
 * Keys are strings of up to 1,024 bytes of UTF-8. Values are numbers, strings, booleans, `null` and Buffers, plain
 * objects and arrays, and anything else that the structured clone algorithm supports (`Map`, `Set`, `Date`, typed arrays …).
 *
 * The type parameter is the type of all values of the store: `cluster.shared<User>('users')`. Nothing checks it at run time.
 *
 * Writes reject with `ERR_RCLUSTER_FULL`, `ERR_RCLUSTER_TOO_LARGE`, `ERR_RCLUSTER_SHARED_VALUE`,
 * `ERR_RCLUSTER_SHARED_BACKLOG`, with `ERR_RCLUSTER_GONE` in a worker whose primary is gone, and, if there is a
 * `backend`, with `ERR_RCLUSTER_DISCONNECTED` and `ERR_RCLUSTER_BACKEND`.
 */
export interface SharedStore<V = any> {
  /** The value of a key, or `undefined`. */
  get<T = V>(key: string): T | undefined;
  /**
   * The value of a key after all writes that completed before this call. With a `backend`, the server is asked for newer changes
   * first, and the promise rejects with `ERR_RCLUSTER_DISCONNECTED` if the server cannot be reached.
   */
  read<T = V>(key: string): Promise<T | undefined>;
  /** Whether a key has a value. */
  has(key: string): boolean;
  /** The value of a key with its revision and its expiry time, or `undefined`. */
  entry<T = V>(key: string): SharedEntry<T> | undefined;
  /** The number of keys. It may include keys that have just expired. */
  readonly size: number;
  /** The number of the last change. It increases with each change. */
  readonly revision: number;
  /** All keys as of one revision, in the order of their bytes. Takes time proportional to the size of the store. */
  keys(options?: { prefix?: string | undefined }): string[] & { revision: number };
  /** All keys and values as of one revision. */
  entries<T = V>(options?: { prefix?: string | undefined }): [string, T][] & { revision: number };
  /** The size and state of the store. */
  stats(): SharedStats;
  /**
   * Resolves when the content has been loaded for the first time, by any process. Resolves immediately if this process has
   * opened the store without a source. A failed load does not reject the promise. While you wait for it, the
   * process stays alive. With a `backend`: resolves when the server's content has been loaded. Rejects with
   * `ERR_RCLUSTER_GONE` in a worker that has left its cluster before.
   */
  readonly ready: Promise<void>;
  /**
   * Sets the value of a key.
   *
   * ```js
   * const sessions = cluster.shared('sessions');
   * await sessions.set(id, { user }, { ttl: 30 * 60_000 });
   * ```
   */
  set(key: string, value: V, options?: SharedSetOptions): Promise<SharedResult>;
  /** Deletes a key. */
  delete(key: string, options?: { ifRevision?: number | undefined }): Promise<SharedResult>;
  /** Makes the value of a key expire in `ttl` ms from now; with `Infinity`, never. Not `ok` if the key has no value. */
  touch(key: string, ttl: number): Promise<SharedResult>;
  /**
   * Adds to the number of a key, and returns the new value. This is atomic: concurrent increments of several processes are all
   * counted.
   * @param by Default: 1.
   * @param options `initial` is the assumed value if the key has none (default: 0). `ttl` is the time in ms after which a newly
   * created value expires.
   * @throws `ERR_RCLUSTER_NOT_NUMBER` if the value is not a number, or the sum is not a finite one.
   */
  increment(
    key: string,
    by?: number,
    options?: { initial?: number | undefined; ttl?: number | undefined },
  ): Promise<number>;
  /** Deletes all keys, or all that begin with `prefix`. Returns how many were deleted. */
  clear(options?: { prefix?: string | undefined }): Promise<number>;
  /**
   * A counter to which each process adds on its own page, without waiting. Every process reads the sum.
   * @param name Up to 256 bytes of UTF-8; a store has at most 256 tallies.
   * @throws `ERR_RCLUSTER_TALLY_LIMIT`
   */
  tally(name: string): SharedTally;
  /** Begins a batch. */
  atomic(): SharedBatch<V>;
  /**
   * Returns the value of a key. If there is none, calls `loader` and sets its result. The loader runs once in the whole cluster,
   * and all other callers wait for it. If its process dies, the loader of the next caller runs. If the loader rejects, the promises
   * of all waiting callers reject with its error.
   *
   * ```js
   * const user = await store.getOrCreate(`user:${id}`, () => readUser(id), { ttl: 60_000, grace: 600_000 });
   * ```
   * @param loader Its signal is aborted when another process creates the value instead.
   * @param options `ttl`: in ms; default: forever. `negativeTtl`: how long a failure is kept, in ms; default: 0. `grace`: how long
   * after `ttl` the old value is returned while a new one is being created, in ms; default: 0. `signal` ends the wait of this
   * call, which rejects with the reason; a loader that runs goes on.
   */
  getOrCreate<T extends V>(
    key: string,
    loader: (facts: { signal: AbortSignal }) => T | Promise<T>,
    options?: {
      ttl?: number | undefined;
      negativeTtl?: number | undefined;
      grace?: number | undefined;
      signal?: AbortSignal | undefined;
    },
  ): Promise<T>;
  /**
   * Iterates over changes: first the current content, then `synced`, then each change. A slow watch does not take up memory. A
   * watch does not keep the process alive.
   *
   * ```js
   * for await (const { type, key, value } of store.watch({ prefix: 'flag:' })) {
   *   if (type === 'set') flags.set(key, value);
   * }
   * ```
   */
  watch<T = V>(options?: SharedWatchOptions): AsyncIterableIterator<SharedEvent<T>>;
  /**
   * Calls a listener with each change from now on, like a watch with `since`. All listeners share one watch, which begins with
   * the first listener and ends with the last. An error thrown by a listener is an uncaught exception. Listeners do not keep the
   * process alive.
   *
   * ```js
   * store.on('change', ({ type, key }) => console.log(type, key));
   * ```
   */
  on<T = V>(event: 'change', listener: SharedListener<T>): this;
  /**
   * Calls a listener when the source has been loaded. Throws `ERR_RCLUSTER_SHARED` unless this process has opened the store with
   * a source; the same applies to `'loadError'`, and to the three events of a `backend` without one.
   */
  on(event: 'load', listener: (facts: { revision: number; loadedAt: number }) => void): this;
  /** Calls a listener when a load has failed, in any process. */
  on(event: 'loadError', listener: (error: any) => void): this;
  /** With a `backend`: this machine is connected, and is up to date with the server. */
  on(event: 'connect', listener: (facts: { url: string }) => void): this;
  /** With a `backend`: the connection was lost. The error says why. */
  on(event: 'disconnect', listener: (error: Error & { code: string }) => void): this;
  /** With a `backend`: the whole store was loaded again, because changes had been missed. */
  on(event: 'resync', listener: (facts: { revision: number }) => void): this;
  /** The same as `on()`. */
  addListener<T = V>(event: 'change', listener: SharedListener<T>): this;
  addListener(
    event: 'load' | 'loadError' | 'connect' | 'disconnect' | 'resync',
    listener: (argument: any) => void,
  ): this;
  /** The same for one call. */
  once<T = V>(event: 'change', listener: SharedListener<T>): this;
  once(
    event: 'load' | 'loadError' | 'connect' | 'disconnect' | 'resync',
    listener: (argument: any) => void,
  ): this;
  /** Removes a listener. */
  off<T = V>(event: 'change', listener: SharedListener<T>): this;
  off(
    event: 'load' | 'loadError' | 'connect' | 'disconnect' | 'resync',
    listener: (argument: any) => void,
  ): this;
  /** The same as `off()`. */
  removeListener<T = V>(event: 'change', listener: SharedListener<T>): this;
  removeListener(
    event: 'load' | 'loadError' | 'connect' | 'disconnect' | 'resync',
    listener: (argument: any) => void,
  ): this;
  /** How many listeners there are. */
  listenerCount(event: string): number;
  /** Sets the number of listeners of an event above which Node warns of a leak: 10 by default, 0 for none. */
  setMaxListeners(limit: number): this;
}

/** A listener of `'change'`. A `synced` event only follows the content after a `resync`. */
export type SharedListener<T = any> = (event: SharedEvent<T> & { key?: string; value?: T }) => void;

/** The result of `stats()` of a shared store. */
export interface SharedStats {
  /** The number of keys. */
  keys: number;
  /** The number of the last change. */
  revision: number;
  /** The size of the current values and their keys, in bytes. */
  bytes: number;
  /** The maximum of `bytes`. */
  limit: number;
  /** Memory in use, including history and index, in bytes. */
  memory: number;
  /** The size of the largest possible value, in bytes. */
  maxValue: number;
  /** How many keys have been evicted. */
  evicted: number;
  /** How many keys have expired. */
  expired: number;
  /** The state of its source, if this process has opened the store with one. */
  source: SharedSourceStats | undefined;
  /**
   * In the primary, with `persist`: when the store was last saved, in ms since the epoch (0: not yet), at which revision, and the
   * error if saving has failed since then. `undefined` while it is being saved.
   */
  saved: { at: number; revision: number; error?: string } | undefined;
  /** The state of its server, if it has a `backend`. */
  backend: SharedBackendStats | undefined;
}

/** A store that each process has for itself, filled by its source only. */
export interface PolledStore<V = any> extends Pick<
  SharedStore<V>,
  | 'get'
  | 'has'
  | 'entry'
  | 'size'
  | 'revision'
  | 'keys'
  | 'entries'
  | 'ready'
  | 'on'
  | 'addListener'
  | 'once'
  | 'off'
  | 'removeListener'
  | 'listenerCount'
  | 'setMaxListeners'
> {
  stats(): { keys: number; revision: number; source: SharedSourceStats };
}
