// The options of `supervise()`, and the supervisor that it returns. See index.d.ts.

import { EventEmitter } from 'node:events';
import { Arguments, Listener, Worker } from './cluster.js';
import { SchedulingStats } from './scheduling.js';
import { SharedBackend } from './shared.js';

/** At most `max` restarts in any `period`. */
export interface RestartIntensity {
  /** How many restarts; with 0, none. Default: 60. */
  max?: number | undefined;
  /** The period, in ms. Default: 60,000. */
  period?: number | undefined;
}

/** The options of `supervise()`. All times are in ms. */
export interface SuperviseOptions {
  /**
   * The number of workers, 1 to 1,024. `'auto'` is `availableParallelism()`, and follows it: when there have been more
   * CPUs for 30 s, or fewer, slots are added or removed one at a time. Default: `'auto'`.
   */
  workers?: number | 'auto' | undefined;
  /**
   * The Redis or Valkey server for locks and leaders across several machines: the same as `setupPrimary({
   * backend })`, for programs and files of `rcluster start --config` that do not call it.
   * `ERR_RCLUSTER_TOO_LATE` if another one was set before. Default: none. See docs/redis.md.
   */
  backend?: string | SharedBackend | undefined;
  /** How many started workers wait, without connections, to take over from one that dies. Default: 0. */
  standby?: number | undefined;
  /** When a worker that has ended is replaced: always, except after exit code 0, or never. Default: `'always'`. */
  restart?: 'always' | 'on-failure' | 'never' | undefined;
  /** Exit codes after which a worker is not replaced, whatever `restart` says. Default: none. */
  stopExitCodes?: readonly number[] | undefined;
  /**
   * How often the worker of one slot may be restarted. Default: 60 times in 60 seconds. With the default `backoff`, a script
   * that cannot start never reaches this limit; `startUpLimit` applies instead. A worker that retires, and serves until its
   * successor is ready, does not count.
   */
  restartIntensity?: RestartIntensity | undefined;
  /** How often the workers of all slots together may be restarted. Default: that of a slot times the number of workers. */
  totalIntensity?: RestartIntensity | undefined;
  /** How long to wait before a restart. */
  backoff?:
    | {
        /** The first wait. Default: 100. */
        initial?: number | undefined;
        /** The longest wait. Default: 15,000. */
        max?: number | undefined;
        /** The factor by which it grows each time, 1 to 100. Default: 2. */
        factor?: number | undefined;
        /** The fraction by which it varies at random, 0 to 1. Default: 0.2. */
        jitter?: number | undefined;
        /** How many failures in a row of workers that had been ready are each followed by an immediate restart. Default: 5. */
        immediate?: number | undefined;
        /** After a worker has been ready for this long, the count of failures is reset. Default: 1,000. */
        resetAfter?: number | undefined;
      }
    | undefined;
  /**
   * After too many restarts: continue with fewer workers as long as there is one, or shut down and exit. Default:
   * `'degrade'`.
   */
  onGiveUp?: 'degrade' | 'exit' | undefined;
  /**
   * The exit code of the primary if it exits because of `onGiveUp: 'exit'`, or because no slot has a worker or will get one,
   * and at least one has failed. 0 to 255. Default: 70.
   */
  giveUpExitCode?: number | undefined;
  /**
   * As long as no worker of the cluster has ever been ready: how long starting is retried in a slot, with at least two
   * restarts, before the slot is given up. 0 means forever. Default: 60,000.
   */
  startUpLimit?: number | undefined;
  /**
   * When a worker is ready: when it runs, when its first server listens, or when it calls `cluster.worker.ready()`.
   * Default: `'listening'`.
   */
  ready?: 'online' | 'listening' | 'explicit' | undefined;
  /** How long a worker may take to become ready, before it counts as failed to start. Default: 30,000. */
  readyTimeout?: number | undefined;
  /** How long a worker may take to finish its pending work before it is forced to end. Default: 8,000. */
  drainTimeout?: number | undefined;
  /** How long after SIGTERM the worker gets SIGKILL. Default: 1,000. */
  killTimeout?: number | undefined;
  /**
   * How long the event loop of a ready worker may be blocked before the worker is replaced: at least 100, or 0 for no limit.
   * `readyTimeout` limits its start. Default: 0.
   */
  unresponsiveAfter?: number | undefined;
  /** Limits at which a healthy worker is replaced; 0 means never. */
  recycle?:
    | {
        /**
         * Bytes of resident memory; or, such as `'80%'`, the fraction of all memory that all workers together may use: of the
         * container's limit or, if there is none, of the machine's memory. `'1%'` to `'100%'`. Default: 0.
         */
        memory?: number | `${number}%` | undefined;
        /** Its age. Default: 0. */
        age?: number | undefined;
        /** The number of clients that it has accepted; connections handed over by other workers do not count. Default: 0. */
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
   * Whether SIGTERM, SIGINT and SIGQUIT to the primary shut the cluster down, after which the primary exits with code 0. A
   * second signal ends `shutdownDelay` or, during the drains, kills the workers. Default: `true`.
   */
  signals?: boolean | undefined;
  /**
   * The time between SIGTERM to the primary, or `rcluster stop`, and the drains. During this time, connections are still
   * accepted, and the event `stopping` and `stats().stopping` announce the shutdown. SIGINT and SIGQUIT have no delay.
   * Default: 0.
   */
  shutdownDelay?: number | undefined;
  /** How long the drains of a shutdown may take. Default: `drainTimeout`. */
  shutdownTimeout?: number | undefined;
  /**
   * The address of the control socket, which the command `rcluster` and `rcluster/control` use to control this cluster: a path,
   * `'@name'` for an abstract name, `'off'` for none, or `'auto'`: `$RUNTIME_DIRECTORY/rcluster.sock`, or else
   * `$XDG_RUNTIME_DIR/rcluster/<pid>.sock`, or else `@rcluster/<uid>/<pid>`. Only the same user and root may connect.
   * If it cannot be opened, the process warning `RCLUSTER_CONTROL` says why. Default: `'auto'`.
   */
  control?: 'auto' | 'off' | (string & {}) | undefined;
  /**
   * The address at which metrics, probes and the status are served over HTTP, by a native thread and therefore even while
   * the primary's JavaScript is blocked: a port of the loopback interface, `'address:port'` (`'0.0.0.0:9090'`, `'[::]:9090'`), or
   * `'unix:path'`, which only the same user and root can connect to. If the address cannot be bound, the process
   * warning `RCLUSTER_METRICS_ADDRESS` says why, and binding is retried. See docs/metrics.md. Default: `'off'`.
   */
  metrics?: 'off' | number | (string & {}) | undefined;
  /**
   * How many workers must be ready for `/readyz` and `/startupz` to succeed; with fewer `workers`, all of them.
   * Default: 1.
   */
  minReady?: number | undefined;
  /**
   * How workers write to the primary's stdout and stderr, if they inherit these: directly (`'inherit'`); or
   * through a native thread of the primary, which writes whole lines and keeps the last ones, unchanged (`'raw'`), with
   * the slot in front (`'prefix'`), or as JSON (`'json'`). With `'prefix'` and `'json'`, a line that is a JSON object gets
   * the fields `worker`, `slot`, `stream` and `time` instead. With `'auto'` stdout is inherited; stderr goes through
   * the thread unchanged, unless it is a terminal. Default: `'auto'`.
   */
  logs?: 'auto' | 'inherit' | 'raw' | 'prefix' | 'json' | undefined;
  /**
   * What is written to stderr: nothing (`false`); failures and their consequences (`'warn'`), where equal ones are
   * counted and summarised every 10 seconds; or every event (`'info'`). A function is called with every event instead,
   * and nothing is written. Default: `'warn'`.
   *
   * ```js
   * cluster.supervise({ log: ({ level, message, name, facts }) => logger[level]({ name, ...facts }, message) });
   * ```
   */
  log?: false | 'warn' | 'info' | ((event: SupervisorLogEvent) => void) | undefined;
}

/** The argument of a function given as the option `log` of `supervise()`. */
export interface SupervisorLogEvent {
  /** The name of the event. */
  name: keyof SupervisorEventMap;
  /** `'warn'` for failures and their consequences. */
  level: 'warn' | 'info';
  /** One line of text, or several with a stack. */
  message: string;
  /** The argument of the event's listeners. */
  facts: Record<string, any>;
}

/** The facts that every event about a worker contains. */
export interface AboutWorker {
  /** Its id. */
  worker: number;
  /** Its process id, if known. */
  pid?: number;
  /** Its slot; null for a standby. */
  slot: number | null;
}

/** How a worker has ended. */
export interface AboutEnd {
  /** Its id; null if it could not be started. */
  worker: number | null;
  pid?: number;
  /** Its slot; null for a standby. */
  slot: number | null;
  /** Its exit code, if it has exited. */
  code: number | null;
  /** The signal that ended it, if one did. */
  signal: string | null;
  /** The reason as text. */
  reason: string;
  /** The error that it has printed last on stderr, without the stack; null if there is none, or `stderrTail` is null. */
  error: string | null;
  /** Whether it had been ready. */
  phase: 'start-up' | 'service';
  /** The last lines that it has written to stderr, at most 50; null if that does not go through the primary. */
  stderrTail: string[] | null;
}

/** The events of a supervisor, with causes and figures. Times are in ms. */
export interface SupervisorEventMap {
  /** A worker has been started. */
  spawn: [
    facts: AboutWorker & {
      cause:
        | 'start'
        | 'restart'
        | 'retire'
        | 'recycle'
        | 'unresponsive'
        | 'reload'
        | 'operator'
        | 'scale'
        | 'standby';
    },
  ];
  /** A worker is ready, `bootMs` after it was started. */
  ready: [facts: AboutWorker & { bootMs: number }];
  /** A worker has failed, and another one replaces it after `delay`. */
  restart: [facts: AboutEnd & { delay: number; restarts: number }];
  /** A slot waits before its next worker is started. */
  backoff: [facts: { slot: number | null; delay: number; failures: number }];
  /** There have been too many restarts, and the slot is given up. */
  'gave-up': [facts: AboutEnd & { scope: 'slot' | 'total' | 'start-up'; restarts: number; period: number }];
  /** A worker is replaced and drains, because the app, an exception or a signal has requested it. */
  retire: [facts: AboutWorker & { reason: string; detail: string; by: 'worker' | 'primary' | 'operator' }];
  /**
   * A worker has not finished in time and is forced to end. `resources` counts what holds it, by the names of
   * `process.getActiveResourcesInfo()`, and `Lock` and `Request` for its callbacks that hold a lock and its handlers that have
   * not answered.
   */
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
  unresponsive: [facts: AboutWorker & { blockedFor: number; stack: string | null }];
  /** A worker is replaced because it has reached a limit: memory (bytes), age (ms) or connections. */
  recycle: [facts: AboutWorker & { cause: 'memory' | 'age' | 'connections'; value: number; limit: number }];
  /** A reload begins, has completed, or has failed. */
  reload: [
    facts:
      | { phase: 'start'; slots: number; concurrency: number }
      | { phase: 'done'; tookMs: number }
      | { phase: 'failed'; reason: string; reloaded: number; stderrTail: string[] | null },
  ];
  /** The option `workers` is `'auto'`, and the number of CPUs has changed: a slot has been added or removed. */
  follow: [facts: { cpus: number; workers: number }];
  /** A standby takes over a slot. */
  promote: [facts: AboutWorker & { standbyFor: number }];
  /** A worker has ended and, by `restart` or `stopExitCodes`, is not replaced. */
  stopped: [facts: AboutEnd];
  /** The cluster will shut down in `delay` ms, and serves until then. */
  stopping: [facts: { signal: string | null; delay: number }];
  /**
   * The cluster shuts down; `signal` is the signal that requested it. If it `gaveUp`, `reason` is the last failure, and the
   * primary exits with `exitCode`; otherwise both are null.
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
export interface SupervisorStats {
  /** The target number of workers. */
  workers: number;
  /** How many slots have a ready worker. */
  ready: number;
  /** The number of worker processes in any state. */
  processes: number;
  /** How many of them are draining or being killed. */
  draining: number;
  standby: { ready: number; starting: number };
  /** The total number of restarts. */
  restarts: number;
  reloading: boolean;
  /** Whether a shutdown has been announced or has begun. */
  stopping: boolean;
  shuttingDown: boolean;
  slots: {
    slot: number;
    state: 'filling' | 'serving' | 'backing-off' | 'given-up' | 'stopped' | 'emptying';
    /** The id of its worker. */
    worker: number | null;
    /** The id of the worker that is starting to replace it. */
    successor: number | null;
    restarts: number;
    /** Failures in a row, that is, with no worker in between that was ready for `resetAfter`. */
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
    /** How the last worker of this slot ended, and when, in ms as `Date.now()` counts them; null if none has ended. */
    lastExit: {
      worker: number;
      pid: number | null;
      code: number | null;
      signal: string | null;
      /**
       * The category of the reason: it exited, was ended by a signal or an uncaught exception, ended before it was ready, was
       * unresponsive, or was killed because memory ran out.
       */
      reason: 'exit' | 'signal' | 'exception' | 'startup' | 'hang' | 'oom';
      /** The reason as text. */
      detail: string;
      /** The error that it has printed last on stderr, without the stack; null if there is none, or `stderrTail` is null. */
      error: string | null;
      at: number;
      /** The last lines that it has written to stderr, at most 50; null if that does not go through the primary. */
      stderrTail: string[] | null;
    } | null;
  }[];
  /**
   * The output of workers that went through the primary so far; null if they write it themselves. `lost` counts what could
   * not be written because stdout or stderr was not read in time, or failed.
   */
  logs: {
    mode: 'auto' | 'raw' | 'prefix' | 'json';
    lines: number;
    bytes: number;
    lostStdout: { lines: number; bytes: number };
    lostStderr: { lines: number; bytes: number };
  } | null;
  /** The result of `schedulingStats()`. */
  scheduling: SchedulingStats;
}

/** The primary's object for a supervised cluster. Decisions are made and carried out on a native thread. */
export interface Supervisor extends EventEmitter {
  // Only existing events are accepted: a misspelt name is an error.
  addListener<E extends keyof SupervisorEventMap>(event: E, listener: Listener<SupervisorEventMap[E]>): this;
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

  /** The workers by slot; undefined for a slot without one at the moment. */
  readonly workers: (Worker | undefined)[];

  /** Resolves when the cluster has been shut down and all workers have ended. */
  readonly closed: Promise<void>;

  /**
   * Changes the number of workers: starts some, or drains those with the highest slots.
   * @param workers 1 to 1,024.
   * @returns Resolves when the new workers are ready, or the surplus ones have ended. Rejects with `ERR_OUT_OF_RANGE`,
   * `ERR_RCLUSTER_NOT_READY`, `ERR_RCLUSTER_SUPERSEDED` or `ERR_RCLUSTER_SHUT_DOWN`; with `ERR_RCLUSTER_LAST_SLOT` if only
   * slots that would be removed have a worker. It turns `workers: 'auto'` off; `rcluster scale auto`, or `scale('auto')` of
   * `rcluster/control`, turns that on again.
   */
  scale(workers: number): Promise<void>;

  /**
   * Replaces all workers with new ones, without downtime: each old one drains when its successor is ready. The new workers are
   * started with the current environment, settings and files. If one of them does not become ready, or crashes before all
   * workers have been replaced, the reload stops, and the remaining old workers stay. A call during a reload joins it, and
   * changes neither its settings nor its environment.
   *
   * ```js
   * process.on('SIGHUP', () => supervisor.reload().catch((error) => console.error('still the old code:', error.message)));
   * ```
   * @param options `concurrency`: how many workers are replaced at a time.
   * @returns Rejects with `ERR_RCLUSTER_NOT_READY`, `ERR_RCLUSTER_SHUT_DOWN`, or for wrong options as `supervise()` throws.
   */
  reload(options?: { concurrency?: number | undefined }): Promise<void>;

  /**
   * Drains all workers and starts no more.
   * @param options `timeout`: how long the drains may take, in ms, before workers are forced to end. `delay`: the time in
   * ms before the drains begin; until then, the cluster accepts connections, and the event `stopping` announces the shutdown. A
   * second call ends the delay. Default: 0; `shutdownDelay` is for SIGTERM and `rcluster stop` only.
   * @returns Resolves when all workers have ended.
   */
  shutdown(options?: { timeout?: number | undefined; delay?: number | undefined }): Promise<void>;

  /** The state of the cluster. */
  stats(): SupervisorStats;
}
