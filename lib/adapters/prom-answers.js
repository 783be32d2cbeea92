'use strict';

// How a worker answers the primary's native metrics listener, which requests the metrics of its prom-client registries with a
// named message: see src/io/control/registries.rs.

const { JSON, Map, Number, Object, Promise, setImmediate, setTimeout } = require('../globals');

/** The name of the requests of the primary's listener to workers. */
const NAME = 'rcluster/prom-client';

/** How long, in ms, a worker that drains waits to be asked for the last time. */
const LAST_ANSWER = 500;

/**
 * The registries of this process that take part, each with its number of users.
 * @type {Map<import('prom-client').Registry<import('prom-client').RegistryContentType>, number>}
 */
const registries = new Map();

/** Stops answering the primary's listener. @type {(() => void) | undefined} */
let stopAnswering;

/** Called when the listener has been answered once more. @type {(() => void) | undefined} */
let onAnswered;

/** @param {import('prom-client').Registry<import('prom-client').RegistryContentType>} registry */
function beginToAnswer(registry) {
  const cluster = require('../../index');
  // The listener must answer while the primary's JavaScript is blocked, so it asks only workers.
  if (!cluster.isWorker) return;
  registries.set(registry, (registries.get(registry) ?? 0) + 1);
  if (stopAnswering !== undefined) return;
  const { worker } = cluster;
  const { stop } = cluster.handle(NAME, metricsAsText);
  worker?.on('retire', lastAnswer);
  stopAnswering = () => {
    stop();
    worker?.off('retire', lastAnswer);
  };
}

/**
 * If metrics are served, the listener asks once more when a worker begins to drain.
 * @returns {Promise<void>} which holds its end until then
 */
function lastAnswer() {
  return new Promise((resolve) => {
    onAnswered = resolve;
    setTimeout(resolve, LAST_ANSWER).unref();
  });
}

/** @param {import('prom-client').Registry<import('prom-client').RegistryContentType>} registry */
function endAnswering(registry) {
  const count = registries.get(registry);
  if (count === undefined) return;
  if (count > 1) registries.set(registry, count - 1);
  else registries.delete(registry);
  if (registries.size > 0) return;
  stopAnswering?.();
  stopAnswering = undefined;
}

/**
 * The metrics of a registry, with the names of counters as they are without OpenMetrics: they end with `_total`. Once prom-client
 * has written them for OpenMetrics, it omits that ending.
 * @param {import('prom-client').Registry<import('prom-client').RegistryContentType>} registry
 */
async function metricsOf(registry) {
  const metrics = await registry.getMetricsAsJSON();
  if (!isOpenMetrics(registry)) return metrics;
  return renameCounters(/** @type {any[]} */ (metrics), (name) => `${name}_total`);
}

/** @param {import('prom-client').Registry<import('prom-client').RegistryContentType>} registry */
function isOpenMetrics({ contentType }) {
  return contentType.startsWith('application/openmetrics-text');
}

/**
 * @template {{ name: string, type: string }} T
 * @param {T[]} metrics
 * @param {(name: string) => string} rename gets the name without `_total`
 * @returns {T[]}
 */
function renameCounters(metrics, rename) {
  return metrics.map((metric) => {
    if (metric.type !== 'counter') return metric;
    return Object.assign({}, metric, { name: rename(metric.name.replace(/_total$/, '')) });
  });
}

/** The metrics of all registries of this process as JSON; numbers that JSON lacks are strings. */
async function metricsAsText() {
  const lists = await Promise.all([...registries.keys()].map(metricsOf));
  // The answer is sent before.
  if (onAnswered !== undefined) setImmediate(onAnswered);
  return JSON.stringify(lists.flat(), (_key, value) =>
    typeof value === 'number' && !Number.isFinite(value) ? `${value}` : value,
  );
}

module.exports = { beginToAnswer, endAnswering, isOpenMetrics, renameCounters };
