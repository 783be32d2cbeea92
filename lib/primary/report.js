'use strict';

// The result of schedulingStats(), without the fields that are always 0 under the policies in force.

const { JSON, Object } = require('../globals');

/**
 * @typedef {import('./scheduling').Schedule} Schedule
 * @typedef {{ policy: string, overload?: { action: { kind: string } } }} Plan
 */

/**
 * @param {string} text the native part's counts, as JSON
 * @param {Schedule} schedule
 * @returns {import('../../index').SchedulingStats}
 */
function readReport(text, { plans, hooks }) {
  const { listeners, workers, hook } = JSON.parse(text);
  const all = /** @type {Plan[]} */ ([plans.default, ...Object.values(plans.listeners)]);
  const passes = all.some(({ policy }) => policy !== 'none');
  const sheds = all.some(({ overload }) => overload !== undefined && overload.action.kind !== 'wait');
  return {
    listeners: listeners.map((/** @type {any} */ { shed, ...counts }) =>
      sheds ? { ...counts, shed } : counts,
    ),
    workers: workers.map((/** @type {any} */ worker) => ofWorker(worker, passes)),
    ...(hooks.length > 0 && { hook }),
  };
}

/**
 * Drops the counts that only listeners have: a worker accepts no clients itself, and neither queues nor sheds
 * them.
 *
 * @param {any} worker
 * @param {boolean} passes whether connections are passed to workers
 */
function ofWorker({ accepted: _accepted, queued: _queued, shed: _shed, ...worker }, passes) {
  return passes ? worker : { id: worker.id, slot: worker.slot };
}

module.exports = { readReport };
