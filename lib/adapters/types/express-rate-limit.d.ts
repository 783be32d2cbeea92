// A store of express-rate-limit whose counts all processes of the cluster share.

import type { ClientRateLimitInfo, Options, Store } from 'express-rate-limit';
import cluster = require('../../../index.js');

/** Options of `RateLimitStore`. */
export interface RateLimitStoreOptions {
  /** Where the counts are kept. Default: `cluster.shared('express-rate-limit', { eviction: 'lru' })`. */
  store?: cluster.SharedStore | undefined;
  /** A prefix of each key. Each limiter needs its own. Default: `'rl:'`. */
  prefix?: string | undefined;
}

/**
 * A store of express-rate-limit in a shared store. Counts are exact, whichever workers count.
 *
 * ```js
 * app.use(rateLimit({ windowMs: 60_000, limit: 100, store: new RateLimitStore() }));
 * ```
 */
export class RateLimitStore implements Store {
  /** @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, and what `cluster.shared()` throws. */
  constructor(options?: RateLimitStoreOptions);
  readonly localKeys: false;
  readonly prefix: string;
  init(options: Options): void;
  get(key: string): Promise<ClientRateLimitInfo | undefined>;
  increment(key: string): Promise<ClientRateLimitInfo>;
  decrement(key: string): Promise<void>;
  resetKey(key: string): Promise<void>;
  resetAll(): Promise<void>;
}
