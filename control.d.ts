// A client of the control socket of a supervised cluster: `rcluster/control`.

/** Which cluster is meant: one of the two. */
export interface ConnectOptions {
  /** The address of the control socket: a path, or `'@name'` for an abstract name. */
  control?: string | undefined;
  /** The process id of the primary, whose control socket is where it is by default; in a worker, `process.ppid`. */
  pid?: number | undefined;
  /**
   * Closes the connection when it is aborted, for example after a time: `AbortSignal.timeout(5_000)`. Requests that wait for
   * an answer are rejected with its reason; operations that were requested continue.
   */
  signal?: AbortSignal | undefined;
}

/** An event of supervision, or `exit`. */
export interface ControlEvent {
  /** Its name: `ready`, `restart`, `exit` … */
  event: string;
  /** What the listeners of the event get in the primary; signals by number, and without `pid`. */
  facts: Record<string, any>;
}

/** Gets the events that belong to a request. What it throws rejects the request; the operation goes on. */
export type EventListener = (event: ControlEvent) => void;

/** Who is there. */
export interface Hello {
  /** The version of the protocol. */
  protocol: number;
  /** The version of rcluster. */
  rcluster: string;
  /** The process id of the primary. */
  pid: number;
  /** What can be asked. */
  verbs: string[];
}

/** What the system tells of a process; null if it cannot be found out. */
export interface ProcessFigures {
  /** CPU time so far, in ms. */
  cpuMs: number | null;
  /** Resident bytes. */
  memory: number | null;
  /** Open descriptors. */
  fds: number | null;
}

/** How everything stands. Counters only rise. Fields may be added without another `schema`. */
export interface Status {
  /** 1. */
  schema: number;
  /** When supervision began, in ms since the epoch. */
  startedAt: number;
  versions: { rcluster: string; node: string };
  /** `blockedMs` is how long its event loop has been at work without waiting for events; null if that cannot be found out. */
  primary: ProcessFigures & { pid: number; blockedMs: number | null };
  /** The number of CPUs available, within the affinity mask and the container's quota. */
  cpus: number;
  /** What the control group of the primary may use, and has used. Null without control groups. */
  cgroup: {
    /** The quota in CPUs, which may be a fraction. */
    cpus: number | null;
    /** In bytes. */
    memoryLimit: number | null;
    /** In bytes, with the page cache. */
    memoryUsage: number | null;
    /** For how long processes have been kept from running because the quota was used up, in ms. */
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
    /** In which generation its worker was started. */
    generation: number | null;
    /** In ms. */
    uptime: number | null;
    /** How long its worker took to get ready, in ms. */
    bootMs: number | null;
    /** How long the event loop of its worker has been at work, in ms. */
    busy: number | null;
    /** The part of the last 5 to 10 s that it was at work, from 0 to 1. */
    elu: number | null;
    /** What 99 % of its turns of the last 5 to 10 s stayed below, in ms: so long an event waits. Null if there were none. */
    delayP99Ms: number | null;
    /** For how long it has been blocked, in ms; null unless `unresponsiveAfter` is set. */
    blockedMs: number | null;
    /** Connections open, as its worker says. */
    connections: number | null;
    /** Clients that its worker has taken, as it says. */
    clients: number | null;
    /** Connections that were passed to its worker, and that its event loop has not taken yet. */
    inFlight: number | null;
    restarts: number;
    failures: number;
    /** In ms; null if no worker waits to be started. */
    nextRestartMs: number | null;
    /** How the last worker of this slot ended; signals by number, times in ms since the epoch. */
    lastExit: {
      worker: number;
      code: number | null;
      signal: number | null;
      /** In a word. */
      reason: 'exit' | 'signal' | 'exception' | 'startup' | 'hang' | 'oom';
      /** In words. */
      detail: string;
      at: number;
      /** The last lines that it has written to stderr; null if that does not go through the primary. */
      stderrTail: string[] | null;
    } | null;
  })[];
  /** The workers that only have to end; `deadlineMs` is null once one has got SIGKILL. */
  draining: {
    worker: number | null;
    slot: number | null;
    pid: number | null;
    connections: number | null;
    deadlineMs: number | null;
  }[];
  /** Where metrics and probes are served: `address:port` or `unix:path`; null if they are not. */
  metrics: string | null;
  /** The listeners, but those whose socket all workers share; null if the thread that accepts has not answered. */
  listeners:
    | {
        id: number;
        /** `address:port`, or a path. */
        address: string | null;
        /** How its connections are distributed. */
        policy: 'round-robin' | 'none' | 'least-connections' | 'least-loaded' | 'sticky' | 'kernel' | 'hook';
        /** Workers that listen there. */
        workers: number;
        /** Connections that the primary has accepted so far. */
        accepted: number;
        /** Connections that were accepted and wait for a worker. */
        queue: number;
        /** Connections that no process has accepted yet; null if the kernel does not report them. */
        backlog: number | null;
        /** How many of those there may be. */
        backlogLimit: number | null;
      }[]
    | null;
  /** The shared stores that are open; null if their thread has not answered. */
  stores:
    | {
        name: string;
        keys: number;
        /** Bytes that current values take with their keys. */
        bytes: number;
        /** How many there may be. */
        limit: number;
        /** Bytes of memory in use, with history and index. */
        memory: number;
        /** The number of the last change. */
        revision: number;
        evicted: number;
        expired: number;
        /** How often it is open in processes. */
        clients: number;
      }[]
    | null;
  /** What has been done with connections; null if the thread that accepts them has not answered. */
  dispatcher: {
    listeners: Record<string, any>[];
    workers: Record<string, any>[];
    hook: Record<string, any>;
  } | null;
  /** What workers have written through the primary; null if they write by themselves. */
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
  /** null for a standby. */
  slot: number | null;
  stream: 'stdout' | 'stderr';
  /** When it was read, in ms since the epoch. */
  time: number;
  /** At most 8 KiB. */
  text: string;
}

/** A connection to a cluster. What it asks for is done also if the primary's JavaScript is blocked. */
export interface ControlClient {
  hello(): Promise<Hello>;
  status(): Promise<Status>;
  /** The metrics, in the format of OpenMetrics. */
  metrics(): Promise<string>;
  /**
   * Resolves when new workers are ready, or those that are too many are gone.
   * @throws ERR_OUT_OF_RANGE, ERR_RCLUSTER_NOT_READY, ERR_RCLUSTER_SUPERSEDED, ERR_RCLUSTER_SHUT_DOWN
   */
  scale(
    workers: number | 'auto' | `+${number}` | `-${number}`,
    options?: { onEvent?: EventListener },
  ): Promise<void>;
  /**
   * Replaces all workers by new ones, with the code as it is now, and the environment and settings as the primary has
   * described them last. Resolves when they are ready.
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
   * Where the JavaScript of a worker, or of the primary, is just now.
   * @throws ERR_RCLUSTER_NO_WORKER; ERR_RCLUSTER_NO_STACK if it runs no JavaScript
   */
  stack(slot: number | 'primary'): Promise<string>;
  /**
   * A CPU profile, as the text of a `.cpuprofile` for Chrome's developer tools. The process goes on as before.
   * @param options `duration` in ms, by default 10000, at most 600000
   * @throws ERR_RCLUSTER_NO_WORKER; ERR_RCLUSTER_BLOCKED if its event loop is blocked; ERR_RCLUSTER_EXAMINATION if it
   * cannot, or ends meanwhile
   */
  profile(slot: number | 'primary', options?: { duration?: number }): Promise<string>;
  /**
   * A snapshot of the heap: the pieces of a `.heapsnapshot` for Chrome's developer tools, which are read as they are
   * taken, on a connection of their own. The event loop of the process is blocked while V8 takes the snapshot, which needs
   * about as much memory again. The snapshot holds all that is in memory, secrets as well.
   * @throws as `profile()`
   */
  heap(slot: number | 'primary'): AsyncGenerator<Buffer, void, void>;
  /**
   * Opens the inspector on a free port of 127.0.0.1, unless it is open, and resolves with its address. Everybody on the
   * machine can run code in the process until it is closed: with `off`, which resolves with null.
   * @throws as `profile()`
   */
  inspect(slot: number | 'primary', options?: { off?: boolean }): Promise<string | null>;
  /**
   * The names of the environment variables, as the process sees them just now. Values are never told.
   * @throws as `profile()`
   */
  env(slot: number | 'primary'): Promise<string[]>;
  /**
   * Drains all workers, after which the primary exits. `delay` and `timeout` are in ms, by default the options
   * `shutdownDelay` and `shutdownTimeout`. Resolves when all workers are gone; the primary ends as soon as its JavaScript
   * runs.
   */
  stop(options?: { delay?: number; timeout?: number; onEvent?: EventListener }): Promise<void>;
  /** All events from now on, on a connection of its own. Ends when the cluster ends, or does not get rid of them. */
  events(): AsyncGenerator<ControlEvent, void, void>;
  /**
   * The last lines of the workers, of one slot or of all, the oldest first; by default 100.
   * @throws ERR_RCLUSTER_NO_SLOT; ERR_RCLUSTER_NO_LOGS if workers write by themselves
   */
  logs(options?: { slot?: number; lines?: number }): Promise<LogLine[]>;
  /**
   * The same, and then those to come, on a connection of its own. What is not taken in time is left out; `onLost` gets how
   * many lines.
   * @throws as `logs()`
   */
  followLogs(options?: {
    slot?: number;
    lines?: number;
    onLost?: (lines: number) => void;
  }): AsyncGenerator<LogLine, void, void>;
  /**
   * Closes the connection. `events()` and `followLogs()` end, and other requests are rejected. What has been asked for
   * goes on.
   */
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Connects to the control socket of a cluster.
 * @throws ERR_RCLUSTER_NOT_RUNNING if no such cluster listens there; ERR_RCLUSTER_UNSUPPORTED_NODE for an abstract name in
 * Node 20; ERR_INVALID_ARG_VALUE
 */
export function connect(options: ConnectOptions): Promise<ControlClient>;
