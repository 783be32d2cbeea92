// How connections are distributed: what `scheduling` and `schedule()` take, and what `schedulingStats()` returns. See index.d.ts.

import { Worker } from './cluster.js';

/** The policies by name. docs/balancing.md compares them. */
export type SchedulingPolicy =
  'round-robin' | 'none' | 'least-connections' | 'least-loaded' | 'sticky' | 'kernel';

/** How the connections of a listener are distributed. */
export interface ListenerScheduling {
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
export interface Scheduling extends ListenerScheduling {
  /**
   * Settings of single listeners, by port (as in the call of `listen()`) or path. They take only the policy from the cluster.
   *
   * ```js
   * cluster.setupPrimary({ scheduling: { policy: 'least-loaded', listeners: { 8081: 'sticky' } } });
   * ```
   */
  listeners?: Record<string, SchedulingPolicy | ScheduleHook | ListenerScheduling> | undefined;
}

export interface StickyOptions {
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
export type ScheduleHook = (
  connection: ScheduledConnection,
  workers: ScheduleCandidate[],
) => Worker | ScheduleCandidate | number | null | undefined | void;

/** What is known of a connection before a byte of it is read. It is frozen. */
export interface ScheduledConnection {
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
export interface ScheduleCandidate {
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

export interface HookOptions {
  /** How many ms the function has to answer before a connection goes to the next worker in turn. Default: 100. */
  timeout?: number | undefined;
  /** How many ms a connection waits for the chosen worker while that is blocked or full. Default: 250. */
  patience?: number | undefined;
}

export interface OverloadOptions {
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
export interface ConnectionCounts {
  /** Passed to workers; a connection that came back and was passed again counts twice. */
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
