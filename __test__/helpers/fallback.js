'use strict';

const { withSupervised } = require('../../testing/supervised.js');

/**
 * As withSupervised(), without the native part.
 * @template T
 * @param {Record<string, unknown> & { workers: number }} options of supervise()
 * @param {(app: import('../../testing/supervised.js').Supervised) => Promise<T>} body
 * @param {import('../../testing/fixture.js').FixtureOptions & { listen?: boolean }} [others]
 */
function withFallback(options, body, { env, ...others } = {}) {
  return withSupervised(options, body, { ...others, env: { ...env, RCLUSTER_FALLBACK: '1' } });
}

module.exports = { withFallback };
