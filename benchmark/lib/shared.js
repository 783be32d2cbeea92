'use strict';

/** Shared by the benchmark of shared stores and its workers. */

const { median } = require('../../testing/stats.js');

/** The options of all stores that are measured for speed. */
const OPTIONS = { size: '128MB' };
const KEYS = 30_000;

const keyOf = (/** @type {number} */ i) => `user:${i}`;

/** µs */
const now = () => Number(process.hrtime.bigint()) / 1000;

/**
 * Writes with 500 in flight; returns the number per second.
 * @param {(i: number) => Promise<any>} write
 */
async function pipelined(write, rounds = 5, batches = 60) {
  const rates = [];
  for (let round = 0; round < rounds; round++) {
    const start = now();
    for (let i = 0; i < batches; i++) {
      await Promise.all(Array.from({ length: 500 }, (_, n) => write(i * 500 + n)));
    }
    rates.push((batches * 500e6) / (now() - start));
  }
  return { median: median(rates), max: Math.max(...rates) };
}

/**
 * CPU time of this process in ns for each call, which depends little on other load. The contestants take
 * turns.
 * @param {Record<string, (key: string) => unknown>} contestants
 * @param {number} rounds
 * @returns {Record<string, { median: number, min: number }>}
 */
function reads(contestants, rounds) {
  const keys = Array.from({ length: KEYS }, (_, i) => keyOf(i));
  /** @type {Record<string, number[]>} */
  const times = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, read] of Object.entries(contestants)) {
      let found = 0;
      const start = process.cpuUsage();
      for (const key of keys) if (read(key) !== undefined) found += 1;
      const { user, system } = process.cpuUsage(start);
      if (found !== KEYS) throw new Error(`${name}: ${found} of ${KEYS} keys have a value`);
      // The first rounds are for the compiler.
      if (round >= 0) times[name].push(((user + system) * 1000) / KEYS);
    }
  }
  return Object.fromEntries(
    Object.entries(times).map(([name, all]) => [name, { median: median(all), min: Math.min(...all) }]),
  );
}

module.exports = { KEYS, OPTIONS, keyOf, now, pipelined, reads };
