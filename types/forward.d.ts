// What `setupPrimary({ forward })` takes, and what `forwarding()` returns. See index.d.ts.

/** An address that is forwarded. Times are in milliseconds. */
export interface ForwardOptions {
  /** The port that clients connect to; 0 for any that is free. Needed unless there is a `path`. */
  port?: number | undefined;
  /** The IP address that clients connect to. Default: all, of IPv6 and IPv4. */
  host?: string | undefined;
  /** A Unix socket that clients connect to, in place of `port` and `host`. */
  path?: string | undefined;
  /** How many clients may wait in the kernel. Default: 511. */
  backlog?: number | undefined;
  /**
   * Whether a worker gets a TCP port of its own, on 127.0.0.1, or the path of a Unix socket, which is cheaper and which
   * no other user can listen at. Default: `'path'` for workers in Node, `'port'` for other programs (`execPath`).
   */
  to?: 'port' | 'path' | undefined;
  /** The environment variable by which a worker knows its port or path. Default: `'PORT'`. */
  env?: string | undefined;
  /**
   * Which of the workers that are ready gets the next client: the next in turn, the one with the fewest connections,
   * or, for the same IP address, always the one of the same slot. Default: `'round-robin'`.
   */
  policy?: 'round-robin' | 'least-connections' | 'sticky' | undefined;
  /** Whether, and in which version, a PROXY protocol header with the client's address comes first. Default: `false`. */
  proxyProtocol?: false | 1 | 2 | undefined;
  /** How long a client waits until a worker accepts it; then it is reset. Default: 10000. */
  connectTimeout?: number | undefined;
  /** How long a connection may go without a byte; then it is closed. Default: 0, for ever. */
  idleTimeout?: number | undefined;
  /** The same for a connection of which one side has ended. 0 is for ever. Default: 120000. */
  halfOpenTimeout?: number | undefined;
  /**
   * How many connections there may be; other clients wait in the backlog. Default: 0, which is half of the descriptors
   * that the primary may open (its soft limit, less 64, or a quarter if it is below 256), since each connection takes
   * two. Whatever this says, clients never take those last descriptors: they are kept for starting workers.
   */
  maxConnections?: number | undefined;
}

/** What is currently forwarded at one address. */
export interface Forwarding {
  /** Where clients connect. */
  address: { address: string; port: number } | { path: string };
  /** How many connections there are, including those that wait. */
  connections: number;
  /** How many clients wait for a worker, in addition to those in the backlog. */
  waiting: number;
  /** How many clients have connected so far. */
  accepted: number;
  /** How often a worker did not accept a client, which then went to another or waited. */
  refusals: number;
  /** How many clients were reset because no worker accepted them in time. */
  turnedAway: number;
  /** How many connections ended because no byte moved for too long. */
  timedOut: number;
  /** The workers that are forwarded to or have connections, each with their number. */
  workers: { id: number; connections: number }[];
}
