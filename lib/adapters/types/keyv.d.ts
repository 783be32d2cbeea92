// A storage adapter of Keyv that all processes of the cluster share.

import type { EventEmitter } from 'node:events';
import type { KeyvStoreAdapter, StoredData } from 'keyv';
import cluster = require('../../../index.js');

/** Options of `KeyvShared`. */
export interface KeyvSharedOptions {
  /** Where the values are kept. Default: `cluster.shared('keyv')`. */
  store?: cluster.SharedStore | undefined;
  /** Set by Keyv. */
  namespace?: string | undefined;
}

/**
 * A storage adapter of Keyv in a shared store, for Keyv itself, and through it for cacheable and
 * cache-manager. Each Keyv needs its own adapter, because it sets the namespace; adapters may share one
 * store.
 *
 * ```js
 * const keyv = new Keyv({ store: new KeyvShared(), namespace: 'users', ttl: 60_000 });
 * ```
 */
export class KeyvShared extends EventEmitter implements KeyvStoreAdapter {
  /** @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, and what `cluster.shared()` throws. */
  constructor(options?: KeyvSharedOptions);
  opts: any;
  get namespace(): string | undefined;
  set namespace(namespace: string | undefined);
  get<Value>(key: string): Promise<StoredData<Value> | undefined>;
  getMany<Value>(keys: string[]): Promise<StoredData<Value | undefined>[]>;
  has(key: string): Promise<boolean>;
  hasMany(keys: string[]): Promise<boolean[]>;
  set(key: string, value: any, ttl?: number): Promise<boolean>;
  setMany(entries: { key: string; value: any; ttl?: number }[]): Promise<any>;
  /** Whether the key existed. */
  delete(key: string): Promise<boolean>;
  /** Whether all keys existed. */
  deleteMany(keys: string[]): Promise<boolean>;
  /** Deletes all keys of the namespace. */
  clear(): Promise<void>;
  /** Iterates over a snapshot taken at the start. */
  iterator<Value>(namespace?: string): AsyncGenerator<(string | Awaited<Value> | undefined)[], void>;
}
