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

run(async () => {
  const options = readOptions('How long a scrape of /metrics takes, and what it costs the primary.', {
    workers: { ...flags.workers, default: 32 },
    scrapes: { default: 1000, help: 'scrapes, one after the other' },
    warmup: { default: 50, help: 'scrapes before those that count' },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  const { workers, scrapes, warmup } = options;
  const deadline = 600_000;
  await withProbes(
    { workers },
    async (app, address) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const scrape = () => ask(address, '/metrics', { agent });
      for (let count = 0; count < warmup; count++) await scrape();
      const before = threadTimes(app.pid);
      const times = [];
      let bytes = 0;
      for (let count = 0; count < scrapes; count++) {
        const start = performance.now();
        bytes = (await scrape()).body.length;
        times.push(performance.now() - start);
      }
      const { total, byThread } = cpuBetween(before, threadTimes(app.pid));
      agent.destroy();
      const [p50, p99] = [50, 99].map((percent) => percentile(times, percent));
      const perScrape = Object.entries(byThread).map(([name, spent]) => [name, (spent / scrapes).toFixed(0)]);
      /** @type {import('./lib/section').Section} */
      const section = {
        title: 'Scrapes of metrics',
        about:
          `${scrapes} scrapes of ${bytes} bytes, one after the other on a connection that is kept, ` +
          `with ${workers} workers, and the CPU time that each costs the primary, by thread.`,
        tables: [
          {
            header: ['', 'ms'],
            rows: [
              ['p50', p50.toFixed(2)],
              ['p99', p99.toFixed(2)],
            ],
          },
          {
            header: ['thread', 'CPU µs per scrape'],
            rows: [...perScrape, ['all', (total / scrapes).toFixed(0)]],
          },
        ],
        targets: [
          { name: 'scrape, p99, ms', value: p99, atMost: 20 },
          { name: 'CPU time of the primary for a scrape, µs', value: total / scrapes, atMost: 1000 },
        ],
      };
      publish('scrapes', section, { machine, options, results: { times, byThread } });
    },
    { deadline },
  );
});
