// The options of `setupPrimary({ forward })`, and the result of `forwarding()`. See index.d.ts.

/** An address that is forwarded. Times are in milliseconds. */
export interface ForwardOptions {
  /** The port that clients connect to; 0 for any free port. Required unless there is a `path`. */
  port?: number | undefined;
  /** The IP address that clients connect to. Default: all addresses, of IPv6 and IPv4. */
  host?: string | undefined;
  /** A Unix socket that clients connect to, instead of `port` and `host`. */
  path?: string | undefined;
  /** How many clients may wait in the kernel. Default: 511. */
  backlog?: number | undefined;
  /**
   * Whether a worker gets a TCP port of its own, on 127.0.0.1, or the path of a Unix socket, which costs less
   * and on which no other user can listen. Default: `'path'` for workers in Node, `'port'` for other programs
   * (`execPath`).
   */
  to?: 'port' | 'path' | undefined;
  /** The environment variable by which a worker knows its port or path. Default: `'PORT'`. */
  env?: string | undefined;
  /**
   * Which of the ready workers gets the next client: the next in turn, the one with the fewest connections,
   * or always the one of the same slot for the same IP address. Default: `'round-robin'`.
   */
  policy?: 'round-robin' | 'least-connections' | 'sticky' | undefined;
  /** The version of the PROXY protocol header with the client's address that is sent first; `false` for none. Default: `false`. */
  proxyProtocol?: false | 1 | 2 | undefined;
  /** How long a client waits until a worker accepts it; then it is reset. At least 1. Default: 10000. */
  connectTimeout?: number | undefined;
  /** How long a connection may be idle before it is closed. Default: 0, forever. */
  idleTimeout?: number | undefined;
  /** The same for a connection of which one side has ended. 0 means forever. Default: 120000. */
  halfOpenTimeout?: number | undefined;
  /**
   * The maximum number of connections; other clients wait in the backlog. Default: 0, which means half of the
   * descriptors that the primary may open (its soft limit minus 64, or minus a quarter if the limit is below
   * 256), because each connection takes two. Whatever the value, clients never take those last descriptors:
   * they are reserved for starting workers.
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
  /** How often a worker did not accept a client, which was then given to another worker or waited. */
  refusals: number;
  /** How many clients were reset because no worker accepted them in time. */
  turnedAway: number;
  /** How many connections ended because they were idle for too long. */
  timedOut: number;
  /** The workers that receive connections or still have some, each with the number of its connections. */
  workers: { id: number; connections: number }[];
}
