// How connections are distributed: the options of `scheduling` and `schedule()`, and the result of `schedulingStats()`. See index.d.ts.

import { Worker } from './cluster.js';

/** The policies by name. docs/balancing.md compares them. */
export type SchedulingPolicy =
  'round-robin' | 'none' | 'least-connections' | 'least-loaded' | 'sticky' | 'kernel';

/** How the connections of a listener are distributed. */
export interface ListenerScheduling {
  /** A policy, or a function that decides: see `schedule()`. Default: that of the cluster. */
  policy?: SchedulingPolicy | ScheduleHook | undefined;
  /**
   * How long after a worker has begun to listen it gets less than its share, in ms: a tenth at first, then
   * gradually more. With the policies `round-robin`, `least-connections` and `least-loaded`. Default: 0.
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
export interface Scheduling extends ListenerScheduling {
  /**
   * Settings of single listeners, by port (as in the call of `listen()`) or path. They inherit only the policy of the cluster.
   *
   * ```js
   * cluster.setupPrimary({ scheduling: { policy: 'least-loaded', listeners: { 8081: 'sticky' } } });
   * ```
   */
  listeners?: Record<string, SchedulingPolicy | ScheduleHook | ListenerScheduling> | undefined;
}

export interface StickyOptions {
  /**
   * How a client is identified: by its address (IPv4, or the first 64 bits of IPv6), or by a cookie, a header
   * or a parameter of the URL in the first HTTP request of the connection. A client that does not send it, or
   * not in time or not within the first 8 KiB, is identified by its address. On a Unix socket there is no
   * address, and clients are served in turn. TLS connections cannot be inspected. Default: `'address'`.
   */
  by?: 'address' | 'cookie' | 'header' | 'query' | undefined;
  /** The name of the cookie, header or parameter. */
  name?: string | undefined;
  /**
   * Whether a proxy sends the addresses of its clients with the PROXY protocol, version 1 or 2. The header
   * stays in the stream, and the worker has to read it. Default: `false`.
   */
  proxyProtocol?: boolean | undefined;
  /** How long a client has to send the data that identifies it, in ms. Default: 100. */
  timeout?: number | undefined;
  /**
   * How long a connection waits for its own worker while that worker is blocked or full, in ms, before it
   * goes to another one. Default: 250.
   */
  patience?: number | undefined;
}

/**
 * Decides where a connection goes. It returns a `Worker`, an entry of the list, or the id of a worker. It may name any
 * worker that listens there, including one that is not ready and therefore not in the list: then the connection waits for
 * that worker, see `HookOptions`. With `undefined` or `null` the connection goes to the next worker in turn.
 *
 * It is called in the primary, and must return its decision synchronously; a promise is refused.
 * @param workers The workers that listen there and are ready; if none is ready, all that listen there. The list is never
 * empty, and the function may sort it.
 */
export type ScheduleHook = (
  connection: ScheduledConnection,
  workers: ScheduleCandidate[],
) => Worker | ScheduleCandidate | number | null | undefined | void;

/** What is known about a connection before any of its data is read. It is frozen. */
export interface ScheduledConnection {
  /** The port or path of the listener; empty for a descriptor. */
  readonly listener: string;
  /** The same as for a `net.Socket`. Absent on a Unix socket, or if the client has already closed the connection. */
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  readonly remoteFamily?: 'IPv4' | 'IPv6';
  /** The same as for a `net.Socket`. Absent on a Unix socket. */
  readonly localAddress?: string;
  readonly localPort?: number;
  /** True if a draining worker has handed it over: the function has been called for it before. Otherwise absent. */
  readonly handedOver?: true;
}

/** A worker that may be chosen. */
export interface ScheduleCandidate {
  readonly worker: Worker;
  readonly id: number;
  /** The slot, which a replacement inherits. */
  readonly slot: number;
  /** Its open connections and those in flight to it. */
  readonly connections: number;
  /** The share of recent time in which its event loop was busy, from 0 to 1; also 1 while it is blocked. */
  readonly utilization: number;
  /** Whether it can receive a connection at once: it has room, and its event loop turns. */
  readonly ready: boolean;
}

export interface HookOptions {
  /** How long the function may take to answer, in ms, before a connection goes to the next worker in turn. Default: 100. */
  timeout?: number | undefined;
  /** How long a connection waits for the chosen worker while that is blocked or full, in ms. Default: 250. */
  patience?: number | undefined;
}

export interface OverloadOptions {
  /** How many connections may wait for a worker in the primary, 0 (with another `action` than `'wait'`) to 65,536. Default: 128. */
  queue?: number | undefined;
  /** How long a connection may wait there before `action` is taken, in ms. Not with the action `'wait'`. Default: forever. */
  deadline?: number | undefined;
  /**
   * What is done with a connection that is one too many: it stays in the kernel's backlog, is reset, or is
   * answered with an HTTP response (which makes no sense on a TLS port). Default: `'wait'`.
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
export interface ConnectionCounts {
  /** Passed to workers; a connection that was reclaimed or returned and passed again counts twice. */
  passed: number;
  /** Reclaimed from a worker that had not received them, because it had died, was leaving or was blocked. */
  reclaimed: number;
  /** Returned by a worker: it had `maxConnections`, or its server was closed. */
  returned: number;
  /** Handed over by a draining worker, open and idle, to continue with another one. The client is not a new one. */
  handedOver: number;
}

/** The result of `schedulingStats()`. */
export interface SchedulingStats {
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
    blocked?: boolean | undefined;
  })[];
  /**
   * Counts of the calls of functions given to `schedule()`: `asked` is the sum of `answered`, `late`,
   * `refused` and those that wait. Absent unless there is such a function.
   */
  hook?:
    | {
        /** For how many connections the function was to decide. */
        asked: number;
        /** How many answers came in time. */
        answered: number;
        /** How many answers came too late. */
        late: number;
        /** How many answers were invalid: an error, a promise, or a value that is not a worker. */
        refused: number;
        /** For how many connections the function was not called, because an answer was overdue or too many connections waited for one. */
        unasked: number;
        /** How many connections wait for an answer or for the call. */
        waiting: number;
      }
    | undefined;
}
