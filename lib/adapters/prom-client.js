'use strict';

// The metrics of all processes of a cluster, for prom-client. See types/prom-client.d.ts.
//
// Each process writes the metrics of its registry to a shared store: at intervals, and when another process
// collects them. A collector waits for all living processes, but not for long: for one that does not answer
// it uses the last report. A process that reports holds a lock. If the lock is free, the process is gone, and
// its counts are added to the metrics of dead processes, so that counters do not fall.
//
// The primary's native metrics listener uses another way, see prom-answers.js.

const { randomUUID } = require('node:crypto');
const {
  Object,
  Promise,
  Set,
  clearInterval,
  clearTimeout,
  process,
  setInterval,
  setTimeout,
} = require('../globals');
const { invalidType } = require('../errors');
const { outOfRange } = require('../shared/errors');
const { members } = require('../shared/members');
const { describe } = require('../text');
const { FOR_LIFE } = require('../locks/check');
const { openStore, peer } = require('./common');
const { beginToAnswer, endAnswering, isOpenMetrics, renameCounters } = require('./prom-answers');

const { AggregatorRegistry, Registry, register } = peer('prom-client', () => require('prom-client'));

/** The prefix of keys with metrics. */
const PREFIX = 'metrics:';
/** The key of the counts of dead processes. */
const DEAD = `${PREFIX}dead`;
/** The prefix of the key of a process, followed by its id. */
const ALIVE = `${PREFIX}of:`;
/** The key with the number of collections so far. */
const ASKED = 'asked';
/** The key of an id that distinguishes this store in the names of locks. */
const ID = 'id';

/** The types of metrics that only rise, and whose values outlive their process. */
const RISING = ['counter', 'histogram', 'summary'];
/** The aggregations to which later values can be added. */
const ADDING = ['sum', 'min', 'max'];

/**
 * A metric of getMetricsAsJSON().
 * @typedef {{ name: string, help: string, type: string, aggregator: string, values: any[] }} Metric
 *
 * The report of a process: its metrics, and the last collection that it answers.
 * @typedef {{ metrics: Metric[], asked: number }} Report
 */

class ClusterRegistry {
  /** @type {import('../../index').SharedStore} */
  #store;

  /** @type {import('prom-client').Registry<import('prom-client').RegistryContentType>} */
  #registry;

  /** The time limit for answers of other processes, in ms. @type {number} */
  #timeout;

  /** The key of this process's report. */
  #key = ALIVE + randomUUID();

  /** The revision of its last report. */
  #revision = 0;

  /** Aborted to stop reporting. */
  #closing = new AbortController();

  /** Settled after the final report of this process. @type {Promise<void>} */
  #closed;

  /** The last report. @type {Promise<unknown>} */
  #reported = Promise.resolve();

  /** The next report, which waits for that one. @type {Promise<void> | undefined} */
  #next;

  #hasWarned = false;

  /** @param {import('./types/prom-client').ClusterRegistryOptions} [options] */
  constructor(options) {
    const names = ['store', 'registry', 'interval', 'timeout'];
    const { store, registry = register, interval = 1000, timeout = 1000 } = members(options, names);
    if (!(registry instanceof Registry)) throw invalidType('options.registry', 'Registry', registry);
    checkTime('interval', interval);
    checkTime('timeout', timeout);
    this.#registry = registry;
    this.#timeout = timeout;
    // A report may take 1/160 of the store's size, and at most 1.6 MB.
    this.#store = openStore(store, 'prom-client', { size: '256MB' });
    beginToAnswer(registry);
    this.#closed = this.#takePart(interval);
    // close() rejects with this error as well.
    this.#closed.catch((error) => this.#warn(error));
  }

  get contentType() {
    return this.#registry.contentType;
  }

  /** The metrics of all processes, as text. */
  async metrics() {
    return (await this.collect()).metrics();
  }

  /**
   * The metrics of all processes.
   * @returns {Promise<import('prom-client').Registry<import('prom-client').RegistryContentType>>}
   */
  async collect() {
    const asked = await this.#store.increment(ASKED);
    await this.#untilAnswered(asked);
    await this.#moveDead();
    const reports = this.#store.entries({ prefix: PREFIX }).map(([, { metrics }]) => metrics);
    // prom-client adds `_total` to the names of counters, and removes it before only in a registry that it has not aggregated;
    // there, the next report has the name without.
    const named = isOpenMetrics(this.#registry)
      ? reports.map((metrics) => renameCounters(metrics, (name) => name))
      : reports;
    const registry = AggregatorRegistry.aggregate(named);
    registry.setContentType(this.#registry.contentType);
    return registry;
  }

  /** Writes a final report, and stops taking part. */
  async close() {
    if (!this.#closing.signal.aborted) endAnswering(this.#registry);
    this.#closing.abort();
    await this.#closed;
  }

  /**
   * Reports from now until close().
   * @param {number} interval in ms
   */
  async #takePart(interval) {
    const { locks } = require('../../index');
    const { signal } = this.#closing;
    const lock = (await this.#lockPrefix()) + this.#key;
    try {
      await locks.request(lock, { signal, [FOR_LIFE]: true }, async () => {
        const timer = setInterval(() => void this.#reportSoon(), interval).unref();
        try {
          // While this process holds the lock, its report is not taken for that of a dead process.
          await this.#reportSoon();
          await this.#answerQuestions();
          await this.#report();
        } finally {
          clearInterval(timer);
        }
      });
    } catch (error) {
      // A worker that has left its cluster is about to end. Other processes move its counts to those of dead
      // processes.
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (error !== signal.reason && code !== 'ERR_RCLUSTER_GONE') throw error;
      this.#closing.abort();
    }
  }

  async #answerQuestions() {
    const { signal } = this.#closing;
    try {
      for await (const { type } of this.#store.watch({ key: ASKED, signal })) {
        if (type === 'set') void this.#reportSoon();
      }
    } catch (error) {
      if (error !== signal.reason) throw error;
    }
  }

  /** Like #report(), but an error is only a warning. */
  async #reportSoon() {
    try {
      await this.#report();
    } catch (error) {
      this.#warn(error);
    }
  }

  /** Reports are written one after the other; requests that arrive meanwhile share the next one. */
  #report() {
    if (this.#next !== undefined) return this.#next;
    const report = this.#reported.then(() => {
      this.#next = undefined;
      return this.#write();
    });
    this.#next = report;
    // A failed report does not prevent the next one: its own caller gets the error.
    this.#reported = report.catch(() => {});
    return report;
  }

  async #write() {
    const asked = this.#store.get(ASKED) ?? 0;
    const metrics = /** @type {any} */ (await this.#registry.getMetricsAsJSON());
    // The key does not exist before the first report. If its revision has changed since the last one, this
    // process counts as dead: its worker has been drained, but still runs.
    const { ok, revision } = await this.#store.set(
      this.#key,
      { metrics, asked },
      { ifRevision: this.#revision },
    );
    if (ok) this.#revision = revision;
    else this.#closing.abort();
  }

  /**
   * Waits until all living processes have answered, or the time limit has passed.
   * @param {number} asked the number of the collection
   */
  async #untilAnswered(asked) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), this.#timeout);
    try {
      const locked = await this.#alive();
      const prefix = await this.#lockPrefix();
      for (const key of locked) {
        // No wait for this process itself.
        if (key === this.#key) continue;
        this.#onceDead(prefix + key, controller, () => locked.delete(key) && locked.size === 0);
      }
      // The first events report the existing keys.
      const watch = this.#store.watch({ prefix: ALIVE, signal: controller.signal });
      for await (const event of watch) {
        if (event.type === 'set' && event.value.asked >= asked) locked.delete(event.key);
        if (event.type === 'delete') locked.delete(event.key);
        if (locked.size === 0) break;
      }
    } catch (error) {
      if (!controller.signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
      controller.abort();
    }
  }

  /**
   * Detects that a process no longer holds its lock. The kernel reports its end at once.
   * @param {string} lock
   * @param {AbortController} controller
   * @param {() => boolean} onDead returns whether no other process is left to wait for
   */
  #onceDead(lock, controller, onDead) {
    const { locks } = require('../../index');
    const end = () => {
      if (onDead()) controller.abort();
    };
    locks.request(lock, { mode: 'shared', signal: controller.signal }, end).catch((error) => {
      // Otherwise the collector waits for it until the time limit.
      if (!controller.signal.aborted) this.#warn(error);
    });
  }

  /**
   * Moves the counts of dead processes, each exactly once, even if several processes do this at the same
   * time.
   */
  async #moveDead() {
    // A process takes its lock before its first report, and holds it as long as it lives.
    const keys = this.#store.keys({ prefix: ALIVE });
    const alive = await this.#alive();
    for (const key of keys) {
      if (!alive.has(key)) await this.#move(key);
    }
  }

  /** @param {string} key the key of a dead process */
  async #move(key) {
    for (let entry = this.#store.entry(key); entry !== undefined; entry = this.#store.entry(key)) {
      const dead = this.#store.entry(DEAD);
      const metrics = await sum([dead?.value.metrics ?? [], rising(entry.value.metrics)]);
      const { ok } = await this.#store
        .atomic()
        .check(key, entry.revision)
        .check(DEAD, dead?.revision ?? 0)
        .set(DEAD, { metrics, asked: 0 })
        .delete(key)
        .commit();
      if (ok) return;
    }
  }

  /** @returns {Promise<Set<string>>} the keys of living processes */
  async #alive() {
    const { locks } = require('../../index');
    const prefix = await this.#lockPrefix();
    const { held } = await locks.query();
    // Collectors that wait for the same end hold the lock of a dead process for a moment, in shared mode.
    const names = held.filter(({ mode }) => mode === 'exclusive').map(({ name }) => name);
    return new Set(names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)));
  }

  async #lockPrefix() {
    await this.#store.set(ID, randomUUID(), { ifAbsent: true });
    return `rcluster/prom-client:${this.#store.get(ID)}:`;
  }

  /** @param {unknown} error */
  #warn(error) {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const message = `The metrics of this process are not up to date for others: ${describe(error)}`;
    process.emitWarning(message, { code: 'RCLUSTER_METRICS' });
  }
}

/**
 * The rising metrics of a process, without gauges.
 * @param {Metric[]} metrics
 * @returns {Metric[]}
 */
function rising(metrics) {
  const kept = metrics.filter(({ type, aggregator }) => RISING.includes(type) && ADDING.includes(aggregator));
  return kept.map((metric) => {
    if (metric.type !== 'summary') return metric;
    // Quantiles cannot be added; the sum and the count of observations can.
    const values = metric.values.filter(({ labels }) => labels?.quantile === undefined);
    return Object.assign({}, metric, { values });
  });
}

/**
 * @param {Metric[][]} reports
 * @returns {Promise<Metric[]>}
 */
async function sum(reports) {
  const registry = AggregatorRegistry.aggregate(/** @type {any} */ (reports));
  return /** @type {any} */ (registry.getMetricsAsJSON());
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function checkTime(name, value) {
  if (typeof value !== 'number') throw invalidType(`options.${name}`, 'number', value);
  if (!(value > 0 && value < 2 ** 31)) throw outOfRange(`options.${name}`, '> 0 ms', value);
}

module.exports = { ClusterRegistry };
