'use strict';

// rcluster/prom-client with OpenMetrics: the same names as prom-client's own.

const assert = require('node:assert');
const { test } = require('node:test');
const { Counter, Gauge, Registry } = require('prom-client');
const { isBuiltin } = require('../../testing/subject.js');

test('counters have their names', { skip: isBuiltin && 'the built-in has no shared stores' }, async (t) => {
  const { ClusterRegistry } = require('../../lib/adapters/prom-client.js');
  const registry = new Registry(Registry.OPENMETRICS_CONTENT_TYPE);
  const registers = [registry];
  new Counter({ name: 'requests_total', help: 'With the ending.', registers }).inc(3);
  new Counter({ name: 'errors', help: 'Without.', labelNames: ['code'], registers }).inc({ code: 500 }, 2);
  new Gauge({ name: 'connections_total', help: 'Not a counter.', registers }).set(7);
  const all = new ClusterRegistry({ registry });
  t.after(() => all.close());
  // Before prom-client writes them: then it changes the name of the counter.
  const first = await all.metrics();
  const expected = await registry.metrics();
  assert.match(expected, /^requests_total 3$/m);
  assert.strictEqual(first, expected);
  assert.strictEqual(await all.metrics(), expected);
});
