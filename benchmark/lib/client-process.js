'use strict';

/**
 * The load client, in a process of its own so that neither the cluster nor the benchmark can slow its clock.
 *
 * open loop: `rate` new connections a second whatever the outcome of earlier ones, as the users of a service
 * behave. The n-th connection comes from a loopback address of its own (127.1.0.0 + n), which identifies it to the
 * server.
 *
 * closed loop: `clients` connections at a time, each followed by the next, until `count` are done or
 * `seconds` are over.
 */

const { performance } = require('node:perf_hooks');
const { request } = require('./request');

/** @type {import('./client').ClientOptions} */
const options = JSON.parse(process.argv[2]);
const tell = (/** @type {object} */ message) =>
  /** @type {NonNullable<typeof process.send>} */ (process.send)(message);
const target = { port: options.port, timeoutMs: options.timeoutMs };

process.on('disconnect', () => process.exit(1));
if (options.mode === 'open') openLoop(options);
else closedLoop(options);

/** @param {import('./client').OpenLoop} loop */
function openLoop({ rate, seconds, slowEvery }) {
  const total = rate * seconds;
  /** @type {import('./client').RequestRecord[]} */
  const records = [];
  const begin = performance.now();
  let started = 0;
  const timer = setInterval(() => {
    const due = Math.min(total, Math.floor(((performance.now() - begin) * rate) / 1000));
    while (started < due) start(started++);
    if (started === total) clearInterval(timer);
  }, 1);

  function start(/** @type {number} */ n) {
    const at = performance.now();
    const lateness = at - begin - ((n + 1) * 1000) / rate;
    const localAddress = `127.1.${n >> 8}.${n & 255}`;
    const path = slowEvery && n % slowEvery === slowEvery - 1 ? '/slow' : '/';
    request({ ...target, localAddress, path }, (outcome, latency, worker) => {
      records.push({
        at: performance.timeOrigin + at,
        localAddress,
        path,
        outcome,
        latency,
        lateness,
        worker,
      });
      if (records.length === total) tell({ records });
    });
  }
}

/** @param {import('./client').ClosedLoop} loop */
function closedLoop({ clients, count = Infinity, seconds = Infinity }) {
  const begin = performance.now();
  const end = begin + seconds * 1000;
  let started = 0;
  let running = 0;
  /** @type {Partial<Record<import('./request').Outcome, number>>} */
  const outcomes = {};
  /** @type {number[]} */
  const latencies = [];

  function next() {
    if (started >= count || performance.now() >= end) {
      const failed = started - (outcomes.ok ?? 0);
      if (running === 0) tell({ elapsedMs: performance.now() - begin, latencies, failed, outcomes });
      return;
    }
    started++;
    running++;
    request(target, (outcome, latency) => {
      running--;
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      if (outcome === 'ok') latencies.push(latency);
      next();
    });
  }
  for (let i = 0; i < clients; i++) next();
}
