'use strict';

const { Object } = require('../globals');

/** The policies, each with its number in `cluster.schedulingPolicy` and the name of the constant. */
const POLICIES = /** @type {const} */ ([
  [1, 'SCHED_NONE', 'none'],
  [2, 'SCHED_RR', 'round-robin'],
  [3, 'SCHED_LEAST_CONNECTIONS', 'least-connections'],
  [4, 'SCHED_LEAST_LOADED', 'least-loaded'],
  [5, 'SCHED_STICKY', 'sticky'],
  [6, 'SCHED_KERNEL', 'kernel'],
  [7, 'SCHED_HOOK', 'hook'],
]);

/** The constants that the built-in lacks. They are not enumerable on the cluster object. */
const CONSTANTS = Object.fromEntries(POLICIES.slice(2).map(([number, constant]) => [constant, number]));

/**
 * @param {unknown} number A value of `cluster.schedulingPolicy`.
 * @returns {string | undefined} The name of the policy, if it is one.
 */
function policyName(number) {
  return POLICIES.find(([known]) => known === number)?.[2];
}

/** @param {string} name */
function policyNumber(name) {
  return POLICIES.find(([, , known]) => known === name)?.[0];
}

module.exports = { CONSTANTS, POLICIES, policyName, policyNumber };
