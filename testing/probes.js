'use strict';

// Clusters that serve metrics and probes, and their clients.

const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { connect } = require('../control.js');
const { until } = require('./processes.js');
const { withSupervised } = require('./supervised.js');

/** @typedef {{ port: number, host: string } | { socketPath: string }} Address */

/**
 * Runs a supervised cluster that serves metrics and probes, on a port that the kernel chooses unless the
 * options name another address.
 * @param {Record<string, unknown> & { workers: number }} options
 * @param {(app: import('./supervised.js').Supervised, address: Address, control: string) => Promise<void>} body
 * @param {import('./fixture.js').FixtureOptions & { listen?: boolean }} [fixture]
 */
async function withProbes(options, body, fixture) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-probes-'));
  const control = path.join(directory, 'control.sock');
  try {
    await withSupervised(
      { metrics: 0, ...options, control },
      async (app) => body(app, await addressOf(control), control),
      fixture,
    );
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** @param {string} control @returns {Promise<Address>} */
async function addressOf(control) {
  const client = await until('the control socket is there', () => connect({ control }).catch(() => false));
  const metrics = await until('it listens', async () => (await client.status()).metrics);
  client.close();
  if (metrics.startsWith('unix:')) return { socketPath: metrics.slice('unix:'.length) };
  const [, host, port] = /^\[?([^\]]*)\]?:(\d+)$/.exec(metrics);
  return { host, port: Number(port) };
}

/**
 * @param {Address} address
 * @param {string} target
 * @param {import('node:http').RequestOptions} [options]
 * @returns {Promise<{ status: number, body: string, headers: import('node:http').IncomingHttpHeaders }>}
 */
async function ask(address, target, options = {}) {
  const request = http.request({ ...address, path: target, agent: false, ...options }).end();
  const [response] = await once(request, 'response');
  let body = '';
  for await (const piece of response.setEncoding('utf8')) body += piece;
  return { status: response.statusCode, body, headers: response.headers };
}

module.exports = { addressOf, ask, withProbes };
