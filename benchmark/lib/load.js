'use strict';

/**
 * The closed-loop load clients: wrk where it is installed, otherwise clients that npm provides or that are
 * our own.
 */

const os = require('node:os');
const path = require('node:path');
const { spawn, spawnSync } = require('node:child_process');
const { runClient } = require('./client');
const { percentile } = require('../../testing/stats.js');

/**
 * @typedef {'close' | 'keepalive'} Scenario
 * @typedef {{ scenario: Scenario, port: number, clients: number, seconds: number,
 *   path?: string }} LoadOptions
 */

/**
 * Latencies are in microseconds.
 * @typedef {{ requests: number, requestsPerSecond: number, p50: number, p99: number, max: number,
 *   errors: number }} LoadResult
 */

/** @typedef {{ name: string, run: (options: LoadOptions) => Promise<LoadResult> }} LoadClient */

/**
 * The best load client here, for each scenario.
 * @returns {{ close: LoadClient, keepalive: LoadClient, warning?: string }}
 */
function chooseLoadClients() {
  const version = spawnSync('wrk', ['--version'], { encoding: 'utf8' });
  if (!version.error) {
    // wrk answers --version with an exit code of 1, as for every use that is not a measurement.
    const name = version.stdout.split('\n')[0].replace(/ Copyright.*/, '');
    return { close: { name, run: wrk }, keepalive: { name, run: wrk } };
  }
  try {
    require.resolve('autocannon');
  } catch (error) {
    throw new Error('there is neither wrk (Debian: apt-get install wrk) nor autocannon (npm install)', {
      cause: error,
    });
  }
  return {
    close: { name: 'own client', run: ownClient },
    keepalive: { name: 'autocannon', run: autocannon },
    warning:
      'wrk is not installed (Debian: apt-get install wrk). The load comes from JavaScript clients, which are\n' +
      'slower than what is measured: CPU times and the spread are right, requests/s are those of the client.',
  };
}

/**
 * @param {LoadOptions} options
 * @returns {Promise<LoadResult>}
 */
function wrk({ scenario, port, clients, seconds, path: wanted = '/' }) {
  // One thread of wrk outruns several workers; more of them would only take CPU from the measured processes.
  const threads = Math.min(clients, Math.max(1, Math.floor(os.availableParallelism() / 4)));
  const args = [`-t${threads}`, `-c${clients}`, `-d${seconds}s`, '-s', path.join(__dirname, 'wrk.lua')];
  if (scenario === 'close') args.push('-H', 'Connection: close');
  return new Promise((resolve, reject) => {
    const child = spawn('wrk', [...args, `http://127.0.0.1:${port}${wanted}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const line = /^RESULT (.*)$/m.exec(output);
      if (code !== 0 || !line) return reject(new Error(`wrk ended with ${code ?? signal}:\n${output}`));
      const { duration, ...measured } = JSON.parse(line[1]);
      resolve({ ...measured, requestsPerSecond: (measured.requests / duration) * 1e6 });
    });
  });
}

/**
 * @param {LoadOptions} options
 * @returns {Promise<LoadResult>}
 */
async function ownClient({ port, clients, seconds }) {
  const { elapsedMs, latencies, failed } = await runClient({
    mode: 'closed',
    port,
    clients,
    seconds,
    timeoutMs: 10_000,
  });
  const micros = latencies.map((ms) => ms * 1000);
  return {
    requests: micros.length,
    requestsPerSecond: (micros.length / elapsedMs) * 1000,
    p50: percentile(micros, 50),
    p99: percentile(micros, 99),
    max: percentile(micros, 100),
    errors: failed,
  };
}

/**
 * autocannon in a process of its own, by its command line. (With new connections its latencies are wrong, as
 * it counts the time since the first request of a client; so it is only used for keep-alive.)
 * @param {LoadOptions} options
 * @returns {Promise<LoadResult>}
 */
function autocannon({ port, clients, seconds }) {
  const script = require.resolve('autocannon');
  const args = [script, '-j', '-c', String(clients), '-d', String(seconds), `http://127.0.0.1:${port}/`];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let complaints = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (complaints += chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code !== 0) return reject(new Error(`autocannon ended with ${code ?? signal}:\n${complaints}`));
      const { requests, duration, latency, errors, timeouts, non2xx } = JSON.parse(output);
      resolve({
        requests: requests.total,
        requestsPerSecond: requests.total / duration,
        p50: latency.p50 * 1000,
        p99: latency.p99 * 1000,
        max: latency.max * 1000,
        errors: errors + timeouts + non2xx,
      });
    });
  });
}

module.exports = { chooseLoadClients };
