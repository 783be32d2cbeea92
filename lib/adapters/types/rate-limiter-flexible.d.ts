// A limiter of rate-limiter-flexible whose points all processes of the cluster share.

import { RateLimiterStoreAbstract, type IRateLimiterStoreOptions } from 'rate-limiter-flexible';
import cluster = require('../../../index.js');

/**
 * Options of `RateLimiterShared`: the store, and the options of rate-limiter-flexible for limiters with
 * stores.
 */
export interface RateLimiterSharedOptions extends Pick<
  IRateLimiterStoreOptions,
  | 'keyPrefix'
  | 'points'
  | 'duration'
  | 'blockDuration'
  | 'blockOnConsumed'
  | 'execEvenly'
  | 'execEvenlyMinDelayMs'
  | 'inMemoryBlockOnConsumed'
  | 'inMemoryBlockDuration'
  | 'insuranceLimiter'
> {
  /** Where the points are kept. Default: `cluster.shared('rate-limiter-flexible', { eviction: 'lru' })`. */
  store?: cluster.SharedStore | undefined;
}

/**
 * A limiter of rate-limiter-flexible in a shared store. It needs that package. `RateLimiterUnion`,
 * `BurstyRateLimiter`, `RateLimiterQueue` and the others accept it like any other limiter.
 *
 * ```js
 * const limiter = new RateLimiterShared({ points: 10, duration: 60 });
 * await limiter.consume(request.ip);
 * ```
 */
export class RateLimiterShared extends RateLimiterStoreAbstract {
  /** @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, and what rate-limiter-flexible and `cluster.shared()` throw. */
  constructor(options: RateLimiterSharedOptions);
}
