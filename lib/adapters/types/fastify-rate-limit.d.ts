// A store of @fastify/rate-limit whose counts all processes of the cluster share.

import type { FastifyRateLimitOptions, FastifyRateLimitStore } from '@fastify/rate-limit';
import cluster = require('../../../index.js');

/** Options of `RateLimitStore.with()`. */
export interface RateLimitStoreOptions {
  /** Where the counts are kept. Default: `cluster.shared('fastify-rate-limit', { eviction: 'lru' })`. */
  store?: cluster.SharedStore | undefined;
  /** A prefix of each key. Default: `'fastify-rate-limit-'`. */
  prefix?: string | undefined;
}

/**
 * A store of `@fastify/rate-limit` in a shared store. Counts are exact, whichever workers count. The options
 * `continueExceeding` and `exponentialBackoff` are those of the plugin.
 *
 * ```js
 * await fastify.register(rateLimit, { max: 100, timeWindow: '1 minute', store: RateLimitStore });
 * await fastify.register(rateLimit, { max: 100, store: RateLimitStore.with({ prefix: 'api-' }) });
 * ```
 */
export class RateLimitStore implements FastifyRateLimitStore {
  /** Returns this class with options bound to it. The plugin creates its store itself, and passes none. */
  static with(options: RateLimitStoreOptions): typeof RateLimitStore;
  /** Called by the plugin. */
  constructor(params: FastifyRateLimitOptions);
  incr: FastifyRateLimitStore['incr'];
  /** Reads a count without counting. */
  read(key: string, callback: (error: Error | null, result?: { current: number; ttl: number }) => void): void;
  child: FastifyRateLimitStore['child'];
}
