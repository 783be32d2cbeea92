'use strict';

const { App } = require('./app');
const { threadTimes, cpuBetween } = require('../../testing/proc.js');
const { sum } = require('../../testing/stats.js');

/**
 * Two ways of reading the CPU time may differ by this much: the tick that a running thread has not been
 * charged yet.
 */
const CPU_TOLERANCE = { share: 0.03, micros: 10_000 };

/**
 * One contestant in one round. CPU times are in microseconds per connection (close) or per request
 * (keepalive).
 * @typedef {object} Sample
 * @property {number} round from 1
 * @property {import('./load').Scenario} scenario the load
 * @property {string} contestant its id
 * @property {number} requestsPerSecond as the load client counts them
 * @property {number} p50 microseconds
 * @property {number} p99 microseconds
 * @property {number} errors failed requests
 * @property {number[]} connections of each worker
 * @property {number[]} requests of each worker
 * @property {number} spread most connections of a worker, divided by the fewest
 * @property {{ primary: number, workers: number, total: number }} cpu by process
 * @property {Record<string, number>} primaryThreads CPU time by thread name
 */

/**
 * Runs one contestant under one load: fresh processes, a warm-up that is not counted, then the measured time,
 * between two readings of the counters and CPU times of the idle app.
 * @param {import('./contestants').Contestant} contestant
 * @param {{ round: number, scenario: import('./load').Scenario, workers: number, clients: number,
 *   duration: number, warmup: number }} options
 * @param {import('./load').LoadClient} client
 * @returns {Promise<Sample>}
 */
async function measure(contestant, { round, scenario, workers, clients, duration, warmup }, client) {
  const app = await App.start(contestant, { workers });
  const load = { scenario, port: app.port, clients };
  await client.run({ ...load, seconds: warmup });

  const before = await app.settled();
  const pids = [before.primary.pid, ...before.workers.map(({ pid }) => pid)];
  const timesBefore = pids.map(threadTimes);
  const result = await client.run({ ...load, seconds: duration });
  // Read twice: the first answer shows that the app is idle; the cost of a reading is in both readings of the
  // CPU time.
  await app.settled();
  const timesAfter = pids.map(threadTimes);
  const after = await app.settled();
  await app.stop();

  const connections = after.workers.map((worker, i) => worker.connections - before.workers[i].connections);
  const requests = after.workers.map((worker, i) => worker.requests - before.workers[i].requests);
  requireLoadAsMeant(scenario, sum(connections), sum(requests), result, clients);
  const times = timesAfter.map((times, i) => cpuBetween(timesBefore[i], times));
  [after.primary, ...after.workers].forEach(({ cpu, pid }, i) => {
    const told = cpu - [before.primary, ...before.workers][i].cpu;
    if (Math.abs(told - times[i].total) > CPU_TOLERANCE.micros + told * CPU_TOLERANCE.share) {
      throw new Error(
        `process ${pid} counts ${told} µs of CPU time, its threads ${Math.round(times[i].total)} µs`,
      );
    }
  });

  const units = sum(scenario === 'close' ? connections : requests);
  const [primary, ...others] = times.map(({ total }) => total / units);
  return {
    round,
    scenario,
    contestant: contestant.id,
    requestsPerSecond: result.requestsPerSecond,
    p50: result.p50,
    p99: result.p99,
    errors: result.errors,
    connections,
    requests,
    spread: Math.max(...connections) / Math.min(...connections),
    cpu: { primary, workers: sum(others), total: primary + sum(others) },
    primaryThreads: Object.fromEntries(
      Object.entries(times[0].byThread).map(([name, micros]) => [name, micros / units]),
    ),
  };
}

/**
 * A load client that keeps connections where it should open new ones, or vice versa, measures
 * something else.
 * @param {import('./load').Scenario} scenario
 * @param {number} connections that the workers saw
 * @param {number} requests that the workers saw
 * @param {import('./load').LoadResult} result
 * @param {number} clients
 */
function requireLoadAsMeant(scenario, connections, requests, result, clients) {
  const [least, most] =
    scenario === 'close' ? [result.requests, result.requests + 2 * clients] : [1, 2 * clients];
  if (connections < least || connections > most) {
    throw new Error(
      `${scenario}: ${connections} connections for ${requests} requests and ${result.requests} answers, of ${clients} clients`,
    );
  }
  if (requests < result.requests) {
    throw new Error(`the load client counts ${result.requests} answers, the workers ${requests} requests`);
  }
}

module.exports = { measure };
