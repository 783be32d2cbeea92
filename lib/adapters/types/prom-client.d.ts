// The metrics of all processes of the cluster, for prom-client.

import { Registry } from 'prom-client';
import cluster = require('../../../index.js');

/** Options of `ClusterRegistry`. */
export interface ClusterRegistryOptions {
  /** The registry of this process. Default: the global registry of prom-client. */
  registry?: Registry<any> | undefined;
  /**
   * Where the processes report their metrics; use it for nothing else. The report of a process may take 1/160
   * of its size, and at most 1.6 MB. Default: `cluster.shared('prom-client', { size: '256MB' })`.
   */
  store?: cluster.SharedStore | undefined;
  /** The interval, in ms, at which this process reports its metrics without a request. Default: 1000. */
  interval?: number | undefined;
  /** How long to wait for other processes, in ms. After that, their last reports are used. Default: 1000. */
  timeout?: number | undefined;
}

/**
 * The metrics of all processes of the cluster that have created one, aggregated as prom-client's
 * `AggregatorRegistry` does. They can be collected in any of these processes.
 *
 * For a process that does not answer, because its event loop is blocked, the last report is used. The counts
 * of a dead process from its last report, up to an `interval` before its death, remain in counters,
 * histograms and summaries (without their quantiles); its gauges disappear. The JavaScript of the primary
 * takes no part in this.
 *
 * ```js
 * const metrics = new ClusterRegistry();
 * app.get('/metrics', async (request, response) => {
 *   response.type(metrics.contentType).send(await metrics.metrics());
 * });
 * ```
 */
export class ClusterRegistry {
  /** @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, and what `cluster.shared()` throws. */
  constructor(options?: ClusterRegistryOptions);
  /** The content type of the registry. */
  readonly contentType: string;
  /** The metrics of all processes as text. */
  metrics(): Promise<string>;
  /** The metrics of all processes as a registry. */
  collect(): Promise<Registry<any>>;
  /** Writes a final report, and stops taking part: from then on this process counts as dead. */
  close(): Promise<void>;
}
