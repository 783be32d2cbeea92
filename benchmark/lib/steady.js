'use strict';

/**
 * New connections at a steady rate to a cluster with a problem, and the latencies of the relevant ones: shared
 * by blocked.js and mixed.js.
 */

const { App } = require('./app');
const { runClient } = require('./client');
const { median, percentile } = require('../../testing/stats.js');

/** @typedef {import('./client').RequestRecord} RequestRecord */

/** Seconds before the measured time. */
const WARMUP = 1;

/**
 * @template T
 * @param {import('./contestants').Contestant} contestant
 * @param {{ workers: number, rate: number, duration: number, timeout: number }} options
 * @param {{ env: Record<string, string>, slowEvery?: number, prepare?: (app: import('./app').App) => Promise<T> }} trouble `prepare`
 *   is called when the cluster is up
 * @returns {Promise<{ records: RequestRecord[], failed: number, prepared: T | undefined }>} without the warm-up
 */
async function steadyLoad(contestant, { workers, rate, duration, timeout }, { env, slowEvery, prepare }) {
  const app = await App.start(contestant, { workers, env });
  const prepared = await prepare?.(app);
  const { records } = await runClient({
    mode: 'open',
    port: app.port,
    rate,
    seconds: WARMUP + duration,
    timeoutMs: timeout * 1000,
    slowEvery,
  });
  await app.stop();
  const first = records.reduce((least, { at }) => Math.min(least, at), Infinity);
  const counted = records.filter(({ at }) => at >= first + WARMUP * 1000);
  const failed = counted.filter(({ outcome }) => outcome !== 'ok').length;
  return { records: counted, failed, prepared };
}

/**
 * @param {readonly RequestRecord[]} records
 * @param {number} percent
 */
function latency(records, percent) {
  return percentile(
    records.map(({ latency }) => latency),
    percent,
  );
}

/**
 * The medians of the rounds, a row for each contestant.
 * @template {{ failed: number }} S
 * @param {readonly { contestant: import('./contestants').Contestant, samples: S[] }[]} results
 * @param {readonly [string, (sample: S, round: number) => number, number][]} columns what is shown, where it is, and
 *   with how many digits
 * @returns {{ header: string[], rows: string[][] }}
 */
function latencyTable(results, columns) {
  return {
    header: ['latencies in ms', ...columns.map(([name]) => name), 'failed'],
    rows: results.map(({ contestant, samples }) => [
      contestant.label,
      ...columns.map(([, read, digits]) => {
        const value = median(samples.map(read));
        return Number.isNaN(value) ? '–' : value.toFixed(digits);
      }),
      String(samples.reduce((total, { failed }) => total + failed, 0)),
    ]),
  };
}

module.exports = { steadyLoad, latency, latencyTable };
