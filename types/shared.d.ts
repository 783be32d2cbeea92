// The stores of `shared()`. See index.d.ts.

/** How a shared store is made. Whoever opens one that there is gives the same options, or none. */
export interface SharedOptions {
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
export interface SharedSetOptions {
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
export interface SharedResult {
  /** False if the condition was not met, or there was nothing to change. Then nothing has changed. */
  ok: boolean;
  /** Of the change; if `ok` is false, of the value that the key has, or 0. */
  revision: number;
}

/** A value with what is known of it. */
export interface SharedEntry<T = unknown> {
  value: T;
  /** Of the change that has set it. */
  revision: number;
  /** When it expires, in ms as of `Date.now()`; `undefined` if it does not. */
  expiresAt: number | undefined;
}

/** Options of `watch()`. */
export interface SharedWatchOptions {
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
export type SharedEvent<T = unknown> =
  | { type: 'set'; key: string; value: T; revision: number }
  | { type: 'delete' | 'expire' | 'evict'; key: string; revision: number }
  /** All keys that begin with `prefix` were deleted. */
  | { type: 'clear'; prefix: string; revision: number }
  /** All that had happened up to this revision has been told. Once, and once behind each `resync`. */
  | { type: 'synced'; revision: number }
  /** Changes have been missed: forget what you know. What there is comes next, and then `synced`. */
  | { type: 'resync'; revision: number };

/** Operations that are done all at once, under one revision, or not at all. 1,024 at the most. */
export interface SharedBatch {
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
export interface SharedStore {
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
   * The value of a key, or the one that `loader` makes, which is set. It runs once in the whole cluster, and all that want
   * the value wait for it; when its process dies the next one's runs. Rejects with what the loader rejects with; so do all that wait.
   *
   * ```js
   * const user = await store.getOrCreate(`user:${id}`, () => readUser(id), { ttl: 60_000, grace: 600_000 });
   * ```
   * @param loader Its signal is aborted when another process makes the value instead.
   * @param options `ttl`: ms; default: for ever. `negativeTtl`: how long a failure is kept, in ms; default: 0. `grace`: how long
   * after `ttl` the old value is given while another one is made, in ms; default: 0.
   */
  getOrCreate<T>(
    key: string,
    loader: (facts: { signal: AbortSignal }) => T | Promise<T>,
    options?: { ttl?: number; negativeTtl?: number; grace?: number },
  ): Promise<T>;
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
export interface SharedStats {
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
