'use strict';

const path = require('node:path');
const { spawnSync } = require('node:child_process');

/**
 * @typedef {object} Contestant
 * @property {string} id for the command line
 * @property {string} label its name in tables
 * @property {string} module what the app requires as its cluster
 * @property {Record<string, string>} env the variables that select its policy
 */

/** @type {readonly Contestant[]} */
const contestants = [
  {
    id: 'builtin-rr',
    label: 'built-in round robin',
    module: 'node:cluster',
    env: { NODE_CLUSTER_SCHED_POLICY: 'rr' },
  },
  {
    id: 'builtin-none',
    label: 'built-in SCHED_NONE',
    module: 'node:cluster',
    env: { NODE_CLUSTER_SCHED_POLICY: 'none' },
  },
  {
    id: 'rcluster',
    label: 'rcluster',
    module: path.join(__dirname, '..', '..'),
    env: { NODE_CLUSTER_SCHED_POLICY: 'rr' },
  },
];

/** rcluster with each of its policies. @type {readonly Contestant[]} */
const policies = ['round-robin', 'least-connections', 'least-loaded', 'sticky', 'kernel', 'none'].map(
  (policy) => ({
    id: policy,
    label: `rcluster ${policy}`,
    module: path.join(__dirname, '..', '..'),
    env: { BENCH_SCHEDULING: JSON.stringify(policy) },
  }),
);

/** rcluster asking JavaScript. @type {Contestant} */
const hook = {
  id: 'hook',
  label: 'rcluster schedule()',
  module: path.join(__dirname, '..', '..'),
  env: { BENCH_HOOK: '1' },
};

/**
 * The contestants of this run. Each is loaded once first, so that a missing native module is found now and
 * not after minutes of measuring the others.
 * @param {string} only comma-separated ids; empty for the defaults
 * @param {readonly string[]} defaults
 * @returns {Contestant[]}
 */
function chooseContestants(only, defaults = contestants.map(({ id }) => id)) {
  const all = [...contestants, ...policies, hook];
  const ids = only ? only.split(',').map((id) => id.trim()) : defaults;
  const chosen = ids.map((id) => {
    const found = all.find((contestant) => contestant.id === id);
    if (!found) throw new Error(`no contestant '${id}' among ${all.map((c) => c.id).join(', ')}`);
    return found;
  });
  for (const { id, module, env } of chosen) {
    const { status, stderr, error } = spawnSync(
      process.execPath,
      ['-e', `require(${JSON.stringify(module)})`],
      {
        env: { ...process.env, ...env },
        encoding: 'utf8',
      },
    );
    if (error) throw error;
    if (status !== 0) {
      throw new Error(`${id} does not load (leave it out with --only, or build it first):\n${stderr.trim()}`);
    }
  }
  return chosen;
}

/** @param {Contestant} contestant */
const isBuiltin = ({ module }) => module === 'node:cluster';

module.exports = { contestants, chooseContestants, isBuiltin };
