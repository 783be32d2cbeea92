'use strict';

// Invalid scheduling options are reported at once by name; without them nothing changes.

const assert = require('node:assert');
const { test } = require('node:test');
const cluster = require('../..');

test('errors name the invalid option', () => {
  const type = 'ERR_INVALID_ARG_TYPE';
  const value = 'ERR_INVALID_ARG_VALUE';
  for (const [scheduling, code, name] of [
    [7, type, 'scheduling'],
    [null, type, 'scheduling'],
    [[], type, 'scheduling'],
    ['best', value, 'scheduling.policy'],
    [{ policy: 3 }, type, 'scheduling.policy'],
    [{ polcy: 'sticky' }, value, 'scheduling.polcy'],
    [{ slowStart: '1s' }, type, 'scheduling.slowStart'],
    [{ slowStart: -1 }, value, 'scheduling.slowStart'],
    [{ policy: 'sticky', slowStart: 1 }, value, 'scheduling.slowStart'],
    [{ sticky: { patience: 1 } }, value, 'scheduling.sticky'],
    [{ policy: 'sticky', sticky: { patience: 0.5 } }, value, 'scheduling.sticky.patience'],
    [{ policy: 'none', overload: {} }, value, 'scheduling.overload'],
    [{ policy: 'kernel', overload: {} }, value, 'scheduling.overload'],
    [{ overload: 'reset' }, type, 'scheduling.overload'],
    [{ overload: { queue: 0 } }, value, 'scheduling.overload.queue'],
    [{ overload: { deadline: 50 } }, value, 'scheduling.overload.deadline'],
    [{ overload: { action: 'drop' } }, value, 'scheduling.overload.action'],
    [{ overload: { action: 3 } }, type, 'scheduling.overload.action'],
    [{ overload: { action: { status: 200 } } }, value, 'scheduling.overload.action.status'],
    [{ overload: { action: { body: 'x'.repeat(8193) } } }, value, 'scheduling.overload.action.body'],
    ['hook', value, 'scheduling.policy'],
    [{ hook: { timeout: 5 } }, value, 'scheduling.hook'],
    [{ policy: () => {}, hook: { timeout: 0 } }, value, 'scheduling.hook.timeout'],
    [{ policy: () => {}, hook: { patience: '1s' } }, type, 'scheduling.hook.patience'],
    [{ policy: () => {}, hook: () => {} }, type, 'scheduling.hook'],
    [{ policy: () => {}, slowStart: 5 }, value, 'scheduling.slowStart'],
    [{ listeners: { 80: { policy: 'hook' } } }, value, "scheduling.listeners['80'].policy"],
    [{ listeners: 'sticky' }, type, 'scheduling.listeners'],
    [{ listeners: { 80: 'best' } }, value, "scheduling.listeners['80'].policy"],
    [{ listeners: { 80: { listeners: {} } } }, value, "scheduling.listeners['80'].listeners"],
  ]) {
    assert.throws(
      () => cluster.setupPrimary(/** @type {any} */ ({ scheduling })),
      (error) => error instanceof TypeError && error.code === code && error.message.includes(`'${name}'`),
      `${name} with ${JSON.stringify(scheduling)}`,
    );
  }
  assert.deepStrictEqual(cluster.settings, {}, 'a call that throws changes nothing');
});

test('valid options are accepted, and visible where the built-in shows its policy', () => {
  for (const [scheduling, policy] of /** @type {const} */ ([
    ['least-connections', cluster.SCHED_LEAST_CONNECTIONS],
    [{ policy: 'least-loaded', slowStart: 1000 }, cluster.SCHED_LEAST_LOADED],
    [{ policy: 'sticky', sticky: { patience: 0 }, listeners: { 80: 'none' } }, cluster.SCHED_STICKY],
    ['kernel', cluster.SCHED_KERNEL],
    ['none', cluster.SCHED_NONE],
    ['round-robin', cluster.SCHED_RR],
    // The policy stays as it is.
    [{ overload: { queue: 0, deadline: 9, action: { retryAfter: 1 } } }, cluster.SCHED_RR],
  ])) {
    cluster.setupPrimary({ scheduling });
    assert.strictEqual(cluster.schedulingPolicy, policy);
    assert.deepStrictEqual(cluster.settings.scheduling, scheduling);
  }
});

test('the enumerable properties of the object are unchanged', () => {
  const extra = Object.keys(cluster).filter((name) => /^SCHED_|^scheduling/.test(name));
  assert.deepStrictEqual(extra, ['SCHED_NONE', 'SCHED_RR', 'schedulingPolicy']);
  assert.deepStrictEqual(cluster.schedulingStats(), { listeners: [], workers: [] });
});
