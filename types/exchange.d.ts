// Messages between processes: `cluster.BroadcastChannel`, `handle()`, `request()` and `notify()`. See index.d.ts.

/**
 * The recipient of a message: a worker by its id or its slot; `'any'` worker that handles the name, preferably the one with
 * the fewest pending requests; the primary; or the process that is the leader under a name, see `cluster.lead()`.
 */
export type MessageTarget = number | 'any' | 'primary' | { slot: number } | { leader: string };

/** Options of `cluster.request()`. */
export interface RequestOptions {
  /** How long to wait, in ms, up to 2^31 - 1. Default: forever. */
  timeout?: number | undefined;
  /** Ends the wait: the promise rejects with the reason. */
  signal?: AbortSignal | undefined;
  /** Whose processes are called. Default: `'machine'`, those of this cluster. */
  scope?: 'machine' | undefined;
}

/** Options of `cluster.request()` to the workers, or to the leader, of all machines. */
export interface MachinesRequestOptions extends Omit<RequestOptions, 'scope'> {
  /** All machines that use the server of `setupPrimary({ backend })`. */
  scope: 'all';
}

/** Options of `cluster.notify()`. */
export interface NotifyOptions {
  /**
   * `'all'`, with the target `'all'` or `{ leader }`: the workers, or the leader, of all machines that use
   * the server of `setupPrimary({ backend })`. Default: `'machine'`, those of this cluster.
   */
  scope?: 'machine' | 'all' | undefined;
}

/** Options of a `BroadcastChannel`. */
export interface BroadcastChannelOptions {
  /**
   * `'all'`: the channel reaches all machines that use the server of `setupPrimary({ backend })`. It is separate from the
   * channel with the same name and the scope `'machine'`, which reaches this cluster only. Default: `'machine'`.
   */
  scope?: 'machine' | 'all' | undefined;
}

/** The result of one process for a request to `'all'`. */
export type RequestResult<T = unknown> =
  | { worker: number; status: 'fulfilled'; value: T; reason?: undefined }
  | { worker: number; status: 'rejected'; reason: any; value?: undefined };

/**
 * The result of one process of one machine for a request to `'all'` with the scope `'all'`. The last one has no worker if other
 * machines have not answered, or cannot be reached: its reason says so.
 */
export type MachinesRequestResult<T = unknown> =
  | {
      /** The id of the other machine, 32 hexadecimal digits; `undefined` for this one. */
      machine: string | undefined;
      worker: number;
      status: 'fulfilled';
      value: T;
      reason?: undefined;
    }
  | {
      machine: string | undefined;
      worker: number | undefined;
      status: 'rejected';
      reason: any;
      value?: undefined;
    };

/** The call that a handler answers. */
export interface MessageCall {
  /** The name that was called. */
  readonly name: string;
  /** The id of the calling worker; 0 is the primary. */
  readonly worker: number;
  /** Whether that is a worker of another machine, see `request()` and `notify()` with the scope `'all'`. */
  readonly elsewhere: boolean;
  /** Aborted when the caller no longer waits for the result: after its timeout, its abort or its death. */
  readonly signal: AbortSignal;
}

/** A function that other processes call by name. Its return value, or the value that it throws, is the answer to a request. */
export type MessageHandler = (data: any, call: MessageCall) => unknown;

/** Options of `cluster.handle()`. */
export interface HandleOptions {
  /**
   * Called with the number of messages of `notify()` that were dropped because this process did not read them
   * in time, or because another machine could not publish them; with 0 after the server of all machines was
   * unreachable: some messages may have been lost. Default: a process warning with the code `RCLUSTER_LAG`,
   * and nothing for 0.
   */
  onLag?: ((count: number) => void) | undefined;
}

/** The registration of a handler in this process. */
export interface HandlerRegistration {
  readonly name: string;
  /** Removes the handler. Calls that have begun continue. */
  stop(): void;
  /** The same as `stop()`, at the end of the block of a `using` declaration. */
  [Symbol.dispose](): void;
}

/**
 * Messages of a channel that were dropped because this process did not read them in time or, with the scope
 * `'all'`, because the server was unreachable.
 */
export interface LagEvent extends Event {
  readonly type: 'lag';
  /** How many. 0: the server of all machines was unreachable, and the number of messages posted meanwhile is unknown. */
  readonly count: number;
}

/** A message of a channel: a `MessageEvent`. */
export interface ChannelMessageEvent extends Event {
  /** The value that was posted, cloned; `null` for a message that cannot be read. */
  readonly data: any;
}

/** The options of `EventTarget`'s `addEventListener()`. */
export type ChannelListenerOptions =
  boolean | { capture?: boolean; once?: boolean; passive?: boolean; signal?: AbortSignal };

/** The events of a channel. */
export interface BroadcastChannelEventMap {
  message: ChannelMessageEvent;
  messageerror: ChannelMessageEvent;
  lag: LagEvent;
}

/**
 * A channel that all processes of the cluster can open by its name. It receives the messages that other channels of the name
 * post, in this process and in others, but not its own. It has the same API and follows the same rules as Node's class.
 */
export interface BroadcastChannel extends EventTarget {
  readonly name: string;
  /** Called with each message; `data` is the posted value. */
  onmessage: ((event: ChannelMessageEvent) => any) | null;
  /** Called when a message cannot be deserialized. */
  onmessageerror: ((event: ChannelMessageEvent) => any) | null;
  /**
   * Sends a value to all other channels of the name, at most once to each. Messages of one sender arrive in order.
   * @param message A value that the structured clone algorithm supports, up to 4 MiB.
   * @throws A `DOMException` with the name `DataCloneError` or, after `close()`, `InvalidStateError`;
   * `ERR_RCLUSTER_MESSAGE_TOO_LARGE`; `ERR_RCLUSTER_BUSY` when more than 16 MiB wait to be sent by this process;
   * `ERR_RCLUSTER_GONE` when this worker has left its cluster.
   */
  postMessage(message: any): void;
  /** Closes the channel: it receives no more messages. Messages posted before are still sent. */
  close(): void;
  /** Makes the channel keep the process alive. This is the default. */
  ref(): this;
  /** Lets the process exit although the channel is open. */
  unref(): this;
  addEventListener<K extends keyof BroadcastChannelEventMap>(
    type: K,
    listener: ((event: BroadcastChannelEventMap[K]) => any) | null,
    options?: ChannelListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: ((event: Event) => any) | { handleEvent(event: Event): any } | null,
    options?: ChannelListenerOptions,
  ): void;
}

/** The class `BroadcastChannel`. */
export interface BroadcastChannelConstructor {
  /**
   * @param name Converted to a string; up to 1,024 bytes of UTF-8.
   * @param options The scope: which machines the channel joins.
   * @throws `ERR_MISSING_ARGS`, `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_RCLUSTER_NO_BACKEND` for the scope `'all'` without
   * a server, and the errors with which `cluster.request()` rejects in a process that has no link.
   */
  new (name: any, options?: BroadcastChannelOptions): BroadcastChannel;
  readonly prototype: BroadcastChannel;
}
