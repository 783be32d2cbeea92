'use strict';

const path = require('node:path');
const { Error, Map, Object } = require('../globals');
const { later } = require('../later');
const { policyName, policyNumber } = require('./policies');
const { checkPolicy, initialPolicy } = require('./settings');

/** @type {() => typeof import('./scheduling')} */
const schedules = later('primary/scheduling');

/**
 * @typedef {import('../../index').ClusterSettings} ClusterSettings
 * @typedef {import('./scheduling').Schedule} Schedule
 */

/**
 * The scheduling policy of the cluster. The app sets it by `cluster.schedulingPolicy` until the first call of
 * setupPrimary(), or by the setting `scheduling` until the first worker.
 */
class ClusterPolicy {
  #cluster;
  /** Its number. */
  #number = initialPolicy();
  /** @type {import('../../index').ScheduleHook | undefined} The hook, if the policy is 'hook'. */
  #hook;
  #isFixed = false;
  /**
   * The absolute paths of listeners. Each fork reads the setting again, perhaps in another working directory,
   * where a relative path would be another one.
   * @type {Map<string, string>}
   */
  #paths = new Map();

  /** @param {{ schedulingPolicy: number }} cluster */
  constructor(cluster) {
    this.#cluster = cluster;
  }

  get number() {
    return this.#number;
  }

  /**
   * From now on, an assignment to `cluster.schedulingPolicy` has no effect.
   * @returns {boolean} false if that was so before
   * @throws {Error} ERR_INTERNAL_ASSERTION if there is no such policy
   */
  fix() {
    if (this.#isFixed) return false;
    this.#isFixed = true;
    this.#number = this.#cluster.schedulingPolicy;
    checkPolicy(this.#number, this.#hook);
    return true;
  }

  /**
   * The scheduling of all listeners. A policy that was refused has no name; if the app continues nevertheless,
   * the kernel balances.
   * @param {ClusterSettings} settings
   * @returns {Schedule}
   */
  plans({ scheduling }) {
    const name = policyName(this.#isFixed ? this.#number : this.#cluster.schedulingPolicy) ?? 'none';
    const byDefault = name === 'hook' ? (this.#hook ?? 'none') : name;
    if (scheduling === undefined && typeof byDefault === 'string') {
      return { plans: { default: { policy: byDefault }, listeners: {} }, hooks: [] };
    }
    const given = scheduling === undefined ? byDefault : scheduling;
    return schedules().readScheduling(given, byDefault, (where) => this.#absolute(where));
  }

  /** @param {string} where */
  #absolute(where) {
    const known = this.#paths.get(where);
    if (known !== undefined) return known;
    const resolved = path.resolve(where);
    this.#paths.set(where, resolved);
    return resolved;
  }

  /**
   * Applies the setting `scheduling`, if there is one.
   * @param {ClusterSettings} settings
   * @param {Schedule | undefined} inForce The scheduling that workers or fronts have already.
   * @throws {Error} ERR_RCLUSTER_TOO_LATE if it would have to change
   */
  applyScheduling(settings, inForce) {
    if (settings.scheduling === undefined) return;
    if (inForce === undefined) this.#paths.clear();
    const wanted = this.plans(settings);
    if (inForce === undefined) {
      const { policy, hook } = wanted.plans.default;
      this.#number = this.#cluster.schedulingPolicy = /** @type {number} */ (policyNumber(policy));
      this.#hook = hook === undefined ? undefined : wanted.hooks[hook];
    } else if (!schedules().isSameSchedule(inForce, wanted)) {
      const error = new Error(
        "setupPrimary(): 'scheduling' cannot change once a worker has been forked or something is forwarded",
      );
      throw Object.assign(error, { code: 'ERR_RCLUSTER_TOO_LATE' });
    }
  }
}

module.exports = { ClusterPolicy };
