'use strict';

/**
 * The cost of a scrape of /metrics: the latency for a collector on a kept connection, and the CPU time of the
 * primary for each, by thread. The limits are 20 ms at the 99th percentile with 32 workers, and a thousandth
 * of a core for one scrape a second with 8.
 */

const http = require('node:http');
const { performance } = require('node:perf_hooks');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');
const { cpuBetween, threadTimes } = require('../testing/proc.js');
const { ask, withProbes } = require('../testing/probes.js');
const { percentile } = require('../testing/stats.js');
const { print } = require('../testing/tables.js');

/** The latency is measured with as many workers as wanted, the CPU time also with the number to which its limit applies. */
const FEW = 8;

run(async () => {
  const options = readOptions('How long a scrape of /metrics takes, and what it costs the primary.', {
    workers: { ...flags.workers, default: 32 },
    scrapes: { default: 1000, help: 'scrapes, one after the other' },
    warmup: { default: 50, help: 'scrapes before those that count' },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  const { workers, scrapes } = options;
  const counts = [...new Set([Math.min(FEW, workers), workers])];
  const measured = [];
  for (const count of counts) measured.push(await measure({ ...options, workers: count }));
  const [few] = measured;
  const many = measured[measured.length - 1];
  const threads = Object.keys(many.byThread);
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Scrapes of metrics',
    about:
      `${scrapes} scrapes, one after the other on a connection that is kept, and the CPU time that each costs the ` +
      `primary, by thread: with ${counts.join(' and ')} workers, in ${measured.map(({ bytes }) => bytes).join(' and ')} bytes.`,
    tables: [
      {
        header: ['workers', 'p50, ms', 'p99, ms'],
        rows: measured.map(({ p50, p99 }, index) => [`${counts[index]}`, p50.toFixed(2), p99.toFixed(2)]),
      },
      {
        header: ['CPU µs per scrape', ...counts.map((count) => `${count} workers`)],
        rows: [
          ...threads.map((name) => [
            name,
            ...measured.map(({ byThread }) => (byThread[name] ?? 0).toFixed(0)),
          ]),
          ['all', ...measured.map(({ cpu }) => cpu.toFixed(0))],
        ],
      },
    ],
    targets: [
      { name: `scrape with ${workers} workers, p99, ms`, value: many.p99, atMost: 20 },
      {
        name: `CPU time of the primary for a scrape with ${counts[0]} workers, µs`,
        value: few.cpu,
        atMost: 1000,
      },
    ],
  };
  publish('scrapes', section, { machine, options, results: measured });
});

/** @param {{ workers: number, scrapes: number, warmup: number }} options */
async function measure({ workers, scrapes, warmup }) {
  /** @type {number[]} in ms */
  const times = [];
  let bytes = 0;
  let cpu = 0;
  /** CPU time per scrape, in µs. @type {Record<string, number>} */
  let byThread = {};
  await withProbes(
    { workers },
    async (app, address) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const scrape = () => ask(address, '/metrics', { agent });
      for (let count = 0; count < warmup; count++) await scrape();
      const before = threadTimes(app.pid);
      for (let count = 0; count < scrapes; count++) {
        const start = performance.now();
        bytes = (await scrape()).body.length;
        times.push(performance.now() - start);
      }
      const spent = cpuBetween(before, threadTimes(app.pid));
      agent.destroy();
      cpu = spent.total / scrapes;
      byThread = Object.fromEntries(
        Object.entries(spent.byThread).map(([name, total]) => [name, total / scrapes]),
      );
    },
    { deadline: 600_000 },
  );
  const [p50, p99] = [50, 99].map((percent) => percentile(times, percent));
  return { p50, p99, bytes, cpu, byThread, times };
}
