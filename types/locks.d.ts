// Locks and leadership: `cluster.locks` and `cluster.lead()`. See index.d.ts.

/** Whether a lock is held by one holder only, or shared with all other requests with the mode `'shared'`. */
export type LockMode = 'exclusive' | 'shared';

/** Options of `cluster.locks.request()`. */
export interface LockOptions {
  /** Default: `'exclusive'`. */
  mode?: LockMode | undefined;
  /** Do not wait: if the lock is not free, the callback is called with `null`. Default: `false`. */
  ifAvailable?: boolean | undefined;
  /**
   * Take the lock from its holder, ahead of all pending requests. The promise of the holder's `request()` rejects with
   * `ERR_RCLUSTER_LOCK_STOLEN`; its callback continues to run. For the mode `'exclusive'` only. Default: `false`.
   */
  steal?: boolean | undefined;
  /** Ends the wait: the promise rejects with the reason. Has no effect once the lock is held. */
  signal?: AbortSignal | undefined;
  /**
   * `'all'`: one holder across all machines whose primaries use the same server in `setupPrimary({ backend })`. The lock is
   * then a lease, see docs/redis.md. For the mode `'exclusive'` only. It is independent of the lock with the same name and the
   * scope `'machine'`. Default: `'machine'`.
   */
  scope?: LockScope | undefined;
  /**
   * With the scope `'all'`: how long the lease is valid without a renewal, in ms, from 100 to 3,600,000. After a machine has
   * failed, no other machine gets the lock for this time. A native thread renews the lease after a third of the time. Use the
   * same value everywhere. Default: 10,000.
   */
  ttl?: number | undefined;
}

/**
 * The scope of a lock or a leader. `'machine'`: the primary and the workers of this cluster only; another cluster on the same
 * host has its own locks. `'all'`: the processes of all clusters whose primaries use the same `backend`.
 */
export type LockScope = 'machine' | 'all';

/** Options of `cluster.lead()`. */
export interface LeadOptions {
  /** See `LockOptions`. Default: `'machine'`. */
  scope?: LockScope | undefined;
  /** See `LockOptions`. In ms. Default: 10,000. */
  ttl?: number | undefined;
}

/** A lock that is held. */
export interface Lock {
  readonly name: string;
  readonly mode: LockMode;
  /**
   * A fencing token. With the scope `'machine'`, it is greater than that of every lock and leadership granted before, under any
   * name; with the scope `'all'`, greater than that of every earlier grant of this name. If a resource refuses a smaller token
   * than it has already seen, it is safe from a holder that has lost its lock without knowing it yet.
   */
  readonly token: number;
  /**
   * With the scope `'all'` only: aborted when the lease is lost, before another machine can get it. Its reason is an error with
   * the code `ERR_RCLUSTER_LOCK_LOST`, or `ERR_RCLUSTER_LOCK_STOLEN` if a process of this machine has stolen the lock.
   */
  readonly signal?: AbortSignal;
}

/** A request for a lock, as `query()` lists it. */
export interface LockInfo {
  name: string;
  mode: LockMode;
  /** The id of the worker; `'0'` for the primary. */
  clientId: string;
  /** The token, if the lock is held. */
  token?: number;
  /** `'all'` for a lock across several machines. Requests of other machines are not listed. */
  scope?: 'all';
}

/** The result of `query()`: held locks, ordered by token, and pending requests, in the order in which they were made. */
export interface LockSnapshot {
  held: LockInfo[];
  pending: LockInfo[];
}

/** A lock with the scope `'all'`, which is a lease. */
export interface LeasedLock extends Lock {
  readonly signal: AbortSignal;
}

/** Locks for all processes of the cluster, with the methods of `navigator.locks`. */
export interface Locks {
  /**
   * Waits for a lock, calls the callback, and holds the lock until the promise that the callback returns has settled. Requests
   * are granted in order. The result is that of the callback.
   *
   * ```js
   * await cluster.locks.request('invoices', async (lock) => {
   *   await writeInvoices({ fence: lock.token });
   * });
   * ```
   * @param name Up to 1,024 bytes of UTF-8, not beginning with `-`.
   * @throws `ERR_RCLUSTER_LOCK_DEADLOCK` in the callback of the same lock, because the request would wait for itself;
   * `ERR_RCLUSTER_LOCK_STOLEN`; with the scope `'all'` `ERR_RCLUSTER_LOCK_LOST`, `ERR_RCLUSTER_NO_BACKEND`, and
   * `ERR_RCLUSTER_DISCONNECTED` with `ifAvailable` and `steal`; `ERR_RCLUSTER_LOCK_LIMIT` beyond 10,000 locks in one process;
   * `ERR_RCLUSTER_GONE` when this process has left the cluster.
   */
  request<T>(name: string, callback: (lock: Lock) => T): Promise<Awaited<T>>;
  request<T>(
    name: string,
    options: LockOptions & { scope: 'all'; ifAvailable: true },
    callback: (lock: LeasedLock | null) => T,
  ): Promise<Awaited<T>>;
  request<T>(
    name: string,
    options: LockOptions & { scope: 'all'; ifAvailable?: false | undefined },
    callback: (lock: LeasedLock) => T,
  ): Promise<Awaited<T>>;
  request<T>(
    name: string,
    options: LockOptions & { ifAvailable: true },
    callback: (lock: Lock | null) => T,
  ): Promise<Awaited<T>>;
  request<T>(
    name: string,
    options: LockOptions & { ifAvailable?: false | undefined },
    callback: (lock: Lock) => T,
  ): Promise<Awaited<T>>;
  request<T>(name: string, options: LockOptions, callback: (lock: Lock | null) => T): Promise<Awaited<T>>;
  /** Lists the held locks and the pending requests of all processes of the cluster. */
  query(): Promise<LockSnapshot>;
}

/** The result of `cluster.lead()`: the candidacy of this process, which is the leader or waits to become it. */
export interface Leadership {
  readonly name: string;
  /** Whether this process is the leader. */
  readonly leading: boolean;
  /** See `Lock.token`; `undefined` while this process is not the leader. */
  readonly token: number | undefined;
  /** Resolves when this process is neither the leader nor a candidate any more. Rejects with the error that the function has thrown. */
  readonly done: Promise<void>;
  /**
   * Aborts the signal, waits until the function has ended, and lets another process become the leader. Never rejects. In the
   * function itself it does not wait: another process becomes the leader once the function has ended.
   */
  stop(): Promise<void>;
  /** The same as `stop()`. */
  [Symbol.asyncDispose](): Promise<void>;
}
