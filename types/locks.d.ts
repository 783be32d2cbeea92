// Locks and leadership: `cluster.locks` and `cluster.lead()`. See index.d.ts.

/** With whom a lock is shared: with nobody, or with all others that ask for it as `'shared'`. */
export type LockMode = 'exclusive' | 'shared';

/** Options of `cluster.locks.request()`. */
export interface LockOptions {
  /** Default: `'exclusive'`. */
  mode?: LockMode | undefined;
  /** Do not wait: if the lock is not free the callback is called with `null`. Default: `false`. */
  ifAvailable?: boolean | undefined;
  /**
   * Take the lock away from whoever holds it, and do not wait for those who are before. What the holder's `request()` has
   * returned rejects with `ERR_RCLUSTER_LOCK_STOLEN`; its callback runs on. For the mode `'exclusive'` only. Default:
   * `false`.
   */
  steal?: boolean | undefined;
  /** Ends the wait: the promise rejects with the reason. Of no effect once the lock is held. */
  signal?: AbortSignal | undefined;
}

/** A lock that is held. */
export interface Lock {
  readonly name: string;
  readonly mode: LockMode;
  /**
   * Greater than that of every lock and leadership granted before, whatever its name. A resource that refuses a smaller one than it has seen
   * is safe from a holder that has lost its lock and does not know it yet.
   */
  readonly token: number;
}

/** A request for a lock, as `query()` lists it. */
export interface LockInfo {
  name: string;
  mode: LockMode;
  /** The id of the worker; `'0'` for the primary. */
  clientId: string;
  /** Of a lock that is held. */
  token?: number;
}

/** What `query()` says: what is held, by token, and what is pending, in the order of the requests. */
export interface LockSnapshot {
  held: LockInfo[];
  pending: LockInfo[];
}

/** Locks for all processes of the cluster, with the methods of `navigator.locks`. */
export interface Locks {
  /**
   * Waits for a lock, and holds it while the callback runs and what it returns is pending. Requests are granted in the
   * order in which they come. Rejects with whatever the callback rejects with.
   *
   * ```js
   * await cluster.locks.request('invoices', async (lock) => {
   *   await writeInvoices({ fence: lock.token });
   * });
   * ```
   * @param name Up to 1,024 bytes of UTF-8, not beginning with `-`.
   * @throws `ERR_RCLUSTER_LOCK_DEADLOCK` in the callback of the same lock, where it would wait for itself;
   * `ERR_RCLUSTER_LOCK_STOLEN`; `ERR_RCLUSTER_LOCK_LIMIT` beyond 10,000 in one process; `ERR_RCLUSTER_GONE` when this
   * process has left the cluster.
   */
  request<T>(name: string, callback: (lock: Lock) => T): Promise<Awaited<T>>;
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
  /** The locks that are held and asked for by all processes of the cluster. */
  query(): Promise<LockSnapshot>;
}

/** What `cluster.lead()` returns: a process that leads, or waits to. */
export interface Leadership {
  readonly name: string;
  /** Whether this process leads. */
  readonly leading: boolean;
  /** See `Lock.token`; `undefined` while this process does not lead. */
  readonly token: number | undefined;
  /** Resolves when this process neither leads nor waits any longer. Rejects with what the function has thrown. */
  readonly done: Promise<void>;
  /** Aborts the signal, waits until the function has ended, and lets another process lead. Never rejects. */
  stop(): Promise<void>;
  /** As `stop()`. */
  [Symbol.asyncDispose](): Promise<void>;
}
