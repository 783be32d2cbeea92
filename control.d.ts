// A client of the control socket of a supervised cluster: `rcluster/control`.

/** Selects the cluster: set one of the two. */
export interface ConnectOptions {
  /** The address of the control socket: a path, or `'@name'` for an abstract name. */
  control?: string | undefined;
  /** The process id of the primary, whose control socket is where it is by default; in a worker, `process.ppid`. */
  pid?: number | undefined;
  /**
   * Closes the connection when the signal is aborted, for example after a time limit: `AbortSignal.timeout(5_000)`. Requests that wait for
   * an answer are rejected with its reason; operations that have begun continue.
   */
  signal?: AbortSignal | undefined;
}

/** An event of supervision, or `exit`. */
export interface ControlEvent {
  /** Its name: `ready`, `restart`, `exit` … */
  event: string;
  /**
   * The arguments that listeners of the event get in the primary, with signals as numbers and without `pid`; `stopping` and
   * `shutdown` have no `signal`. `exit` has `worker`, `code` and `signal`.
   */
  facts: Record<string, any>;
}

/** Called with the events that belong to a request. If it throws, the request is rejected; the operation continues. */
export type EventListener = (event: ControlEvent) => void;

/** The response to the handshake of the protocol. */
export interface Hello {
  /** The version of the protocol. */
  protocol: number;
  /** The version of rcluster. */
  rcluster: string;
  /** The process id of the primary. */
  pid: number;
  /** The requests that the control socket supports. */
  verbs: string[];
}

/** Figures of a process from the system; null if they are not available. */
export interface ProcessFigures {
  /** CPU time so far, in ms. */
  cpuMs: number | null;
  /** Resident bytes. */
  memory: number | null;
  /** Open descriptors. */
  fds: number | null;
}

/** The state of the cluster. Counters only increase. Fields may be added without another `schema`. */
export interface Status {
  /** 1. */
  schema: number;
  /** When supervision began, in ms since the epoch. */
  startedAt: number;
  versions: { rcluster: string; node: string };
  /** `blockedMs` is how long its event loop has been active without waiting for events, in ms; null if that is unknown. */
  primary: ProcessFigures & { pid: number; blockedMs: number | null };
  /** The number of CPUs available, within the affinity mask and the container's quota. */
  cpus: number;
  /** The limits and the usage of the primary's control group. Null without control groups. */
  cgroup: {
    /** The quota in CPUs, possibly a fraction. */
    cpus: number | null;
    /** In bytes. */
    memoryLimit: number | null;
    /** In bytes, including the page cache. */
    memoryUsage: number | null;
    /** How long processes were throttled because the quota was used up, in ms. */
    throttled: number | null;
    /** How many processes the kernel has killed because memory ran out. */
    oomKills: number | null;
  } | null;
  /** 1, and one more for each reload that has begun. */
  generation: number;
  workers: number;
  ready: number;
  processes: number;
  standby: { ready: number; starting: number };
  restarts: number;
  reloading: boolean;
  stopping: boolean;
  shuttingDown: boolean;
  slots: (ProcessFigures & {
    slot: number;
    state: 'filling' | 'serving' | 'backing-off' | 'given-up' | 'stopped' | 'emptying';
    worker: number | null;
    successor: number | null;
    pid: number | null;
    /** The generation in which its worker was started. */
    generation: number | null;
    /** In ms. */
    uptime: number | null;
    /** How long its worker took to become ready, in ms. */
    bootMs: number | null;
    /** How long the event loop of its worker has been active, in ms. */
    busy: number | null;
    /** The fraction of the last 5 to 10 s in which it was active, from 0 to 1. */
    elu: number | null;
    /** The 99th percentile of the duration of its turns in the last 5 to 10 s, in ms: how long an event may wait. Null if there were none. */
    delayP99Ms: number | null;
    /** Whether its event loop does not turn although it has something to do. Null if it is not Node or still starting. */
    blocked: boolean | null;
    /** For how long it has been blocked, in ms; null unless `unresponsiveAfter` is set. */
    blockedMs: number | null;
    /** Open connections, as reported by its worker. */
    connections: number | null;
    /** Clients that its worker has received, as reported by it. */
    clients: number | null;
    /** Connections that were passed to its worker, and that its event loop has not received yet. */
    inFlight: number | null;
    restarts: number;
    failures: number;
    /** In ms; null if no start is scheduled. */
    nextRestartMs: number | null;
    /** How the last worker of this slot ended; signals as numbers, times in ms since the epoch. */
    lastExit: {
      worker: number;
      code: number | null;
      signal: number | null;
      /** The category of the reason. */
      reason: 'exit' | 'signal' | 'exception' | 'startup' | 'hang' | 'oom';
      /** The reason as text. */
      detail: string;
      /** The error that it has printed last on stderr, without the stack; null if there is none, or `stderrTail` is null. */
      error: string | null;
      at: number;
      /** Its last lines on stderr; null if its stderr does not go through the primary. */
      stderrTail: string[] | null;
    } | null;
  })[];
  /** The workers that are ending; `deadlineMs` is null once a worker has been sent SIGKILL. */
  draining: {
    worker: number | null;
    slot: number | null;
    pid: number | null;
    connections: number | null;
    deadlineMs: number | null;
  }[];
  /** Where metrics and probes are served: `address:port` or `unix:path`; null if they are not served. */
  metrics: string | null;
  /** The listeners, except those whose socket all workers share; null if the dispatcher has not answered. */
  listeners:
    | {
        id: number;
        /** `address:port`, or a path. */
        address: string | null;
        /** The policy that distributes its connections. */
        policy: 'round-robin' | 'none' | 'least-connections' | 'least-loaded' | 'sticky' | 'kernel' | 'hook';
        /** Workers that listen there. */
        workers: number;
        /** Connections that the primary has accepted since the listener was opened. */
        accepted: number;
        /** Accepted connections that wait for a worker. */
        queue: number;
        /** Connections that no process has accepted yet; null if the kernel does not report them. */
        backlog: number | null;
        /** The maximum of `backlog`. */
        backlogLimit: number | null;
      }[]
    | null;
  /** The open shared stores; null if their thread has not answered. */
  stores:
    | {
        name: string;
        keys: number;
        /** The size of the current values and their keys, in bytes. */
        bytes: number;
        /** The maximum of `bytes`. */
        limit: number;
        /** Memory in use, including history and index, in bytes. */
        memory: number;
        /** The number of the last change. */
        revision: number;
        evicted: number;
        expired: number;
        /** How many times processes have opened it. */
        clients: number;
        /** The server of its values; null if it has none. */
        backend: {
          state: 'connecting' | 'loading' | 'following' | 'offline';
          /** The URL of the server, without the password. */
          url: string;
          /** Requests of this machine that are unanswered; updated about once a second. */
          queued: number;
          /** How often the connection was lost. */
          disconnects: number;
          /** How often the whole store was loaded. */
          loads: number;
          /** The last failure; null once a write succeeds or the connection is made again. */
          error: string | null;
        } | null;
      }[]
    | null;
  /** Counts of connections; null if the dispatcher has not answered. */
  dispatcher: {
    listeners: Record<string, any>[];
    workers: Record<string, any>[];
    hook: Record<string, any>;
  } | null;
  /** The output of workers that went through the primary; null if they write it themselves. */
  logs: {
    mode: 'auto' | 'raw' | 'prefix' | 'json';
    lines: number;
    bytes: number;
    lostStdout: { lines: number; bytes: number };
    lostStderr: { lines: number; bytes: number };
  } | null;
}

/** A line that a worker has written. */
export interface LogLine {
  worker: number;
  /** The slot of the worker; null for a standby. */
  slot: number | null;
  stream: 'stdout' | 'stderr';
  /** When it was read, in ms since the epoch. */
  time: number;
  /** At most 8 KiB. */
  text: string;
}

/**
 * A connection to a cluster. Requests are carried out even while the primary's JavaScript is blocked. All methods reject with
 * ERR_INVALID_ARG_VALUE for an unknown option, and with ERR_INVALID_ARG_TYPE if `options` is not an object.
 */
export interface ControlClient {
  hello(): Promise<Hello>;
  status(): Promise<Status>;
  /** The metrics, in the format of OpenMetrics. */
  metrics(): Promise<string>;
  /**
   * Resolves when the new workers are ready, or the surplus ones have ended.
   * @throws ERR_OUT_OF_RANGE, ERR_RCLUSTER_NOT_READY, ERR_RCLUSTER_SUPERSEDED, ERR_RCLUSTER_SHUT_DOWN
   */
  scale(
    workers: number | 'auto' | `+${number}` | `-${number}`,
    options?: { onEvent?: EventListener },
  ): Promise<void>;
  /**
   * Replaces all workers with new ones that run the current code. Their environment and settings are those that the primary's
   * JavaScript provided last: at startup, or in its own last call of `reload()`. Resolves when they are ready.
   * @throws ERR_RCLUSTER_NOT_READY, ERR_RCLUSTER_SHUT_DOWN
   */
  reload(options?: { concurrency?: number; onEvent?: EventListener }): Promise<void>;
  /**
   * Replaces the worker of one slot. Resolves when the new one is ready.
   * @throws ERR_RCLUSTER_NO_SLOT, ERR_RCLUSTER_NOT_READY, ERR_RCLUSTER_RELOADING, ERR_RCLUSTER_SHUT_DOWN
   */
  restart(slot: number, options?: { onEvent?: EventListener }): Promise<void>;
  /**
   * Drains the worker of one slot, which stays empty until it is restarted or reloaded. Resolves when the worker has
   * ended.
   * @throws ERR_RCLUSTER_NO_SLOT, ERR_RCLUSTER_NO_WORKER, ERR_RCLUSTER_LAST_SLOT, ERR_RCLUSTER_RELOADING
   */
  drain(slot: number, options?: { onEvent?: EventListener }): Promise<void>;
  /**
   * The current JavaScript stack of a worker or of the primary.
   * @throws ERR_RCLUSTER_NO_SLOT, ERR_RCLUSTER_NO_WORKER; ERR_RCLUSTER_NO_STACK if it is not running JavaScript
   */
  stack(slot: number | 'primary'): Promise<string>;
  /**
   * A CPU profile, as the text of a `.cpuprofile` for Chrome's developer tools. The process keeps running normally.
   * @param options `duration` in ms, by default 10000, at most 600000
   * @throws ERR_RCLUSTER_NO_SLOT, ERR_RCLUSTER_NO_WORKER; ERR_RCLUSTER_BLOCKED if its event loop is blocked;
   * ERR_RCLUSTER_EXAMINATION if the profile cannot be taken, or the process ends meanwhile
   */
  profile(slot: number | 'primary', options?: { duration?: number }): Promise<string>;
  /**
   * A snapshot of the heap: the pieces of a `.heapsnapshot` for Chrome's developer tools, which are read
   * while the snapshot is being taken, on a connection of their own. The event loop of the process is blocked
   * during that time, and V8 needs about as much memory again. The snapshot contains everything in memory,
   * including secrets.
   * @throws as `profile()`
   */
  heap(slot: number | 'primary'): AsyncGenerator<Buffer, void, void>;
  /**
   * Opens the inspector on a free port of 127.0.0.1, unless it is already open, and resolves with its address. Everyone on the
   * machine can run code in the process until it is closed: with `off`, which resolves with null.
   * @throws as `profile()`
   */
  inspect(slot: number | 'primary', options?: { off?: boolean }): Promise<string | null>;
  /**
   * The names of the environment variables, as the process sees them now. Values are never sent.
   * @throws as `profile()`
   */
  env(slot: number | 'primary'): Promise<string[]>;
  /**
   * Drains all workers, after which the primary exits. `delay` and `timeout` are in ms; their defaults are
   * the options `shutdownDelay` and `shutdownTimeout`. Resolves when all workers have ended; the primary
   * exits as soon as its JavaScript runs.
   */
  stop(options?: { delay?: number; timeout?: number; onEvent?: EventListener }): Promise<void>;
  /** All events from now on, on a connection of its own. Ends when the cluster ends, or when events are not read in time. */
  events(): AsyncGenerator<ControlEvent, void, void>;
  /**
   * The last lines of the workers, of one slot or of all slots, oldest first. Default: 100 lines.
   * @throws ERR_RCLUSTER_NO_SLOT; ERR_RCLUSTER_NO_LOGS if workers write their output themselves
   */
  logs(options?: { slot?: number; lines?: number }): Promise<LogLine[]>;
  /**
   * The same, followed by new lines as they are written, on a connection of its own. Lines that are not read
   * in time are dropped; `onLost` is called with their number.
   * @throws as `logs()`
   */
  followLogs(options?: {
    slot?: number;
    lines?: number;
    onLost?: (lines: number) => void;
  }): AsyncGenerator<LogLine, void, void>;
  /**
   * Closes the connection. `events()` and `followLogs()` end, and other requests are rejected. Operations
   * that have begun continue.
   */
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Connects to the control socket of a cluster.
 * @throws ERR_RCLUSTER_NOT_RUNNING if no cluster listens there; ERR_RCLUSTER_UNSUPPORTED_NODE in Node 20, if one listens at an
 * abstract name; ERR_INVALID_ARG_VALUE, ERR_INVALID_ARG_TYPE
 */
export function connect(options: ConnectOptions): Promise<ControlClient>;
