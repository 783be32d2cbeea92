'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { withPreloaded } = require('../helpers/ecosystem.js');

const WORKERS = 3;
const REQUESTS = 30;

/** The values of a metric by its labels, the text in braces after its name. */
const valuesOf = (text, name) =>
  Object.fromEntries(
    [...text.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\d+)$`, 'gm'))].map(([, labels, value]) => [
      labels ?? '',
      Number(value),
    ]),
  );

test("prom-client's registry sums the counts of the workers", () =>
  withPreloaded('prom-client.js', async (fixture) => {
    const workers = [];
    for (let count = 0; count < WORKERS; count++) workers.push(await fixture.marker('listening'));
    const target = { port: workers[0].port, host: '127.0.0.1' };
    const byWorker = {};
    for (let request = 0; request < REQUESTS; request++) {
      const { body } = await get({ ...target, headers: { 'x-size': String(request * 10) } });
      byWorker[`pid="${body}"`] = (byWorker[`pid="${body}"`] ?? 0) + 1;
    }
    assert.strictEqual(Object.keys(byWorker).length, WORKERS);

    fixture.tell('metrics');
    const metrics = await fixture.marker('metrics');
    assert.deepStrictEqual(valuesOf(metrics, 'answered'), byWorker);
    assert.deepStrictEqual(valuesOf(metrics, 'alive'), { '': WORKERS });
    assert.deepStrictEqual(valuesOf(metrics, 'sizes_count'), { '': REQUESTS });
    assert.deepStrictEqual(valuesOf(metrics, 'sizes_bucket'), {
      'le="10"': 2,
      'le="100"': 11,
      'le="1000"': REQUESTS,
      'le="+Inf"': REQUESTS,
    });
    fixture.tell('disconnect');
    for (let count = 0; count < WORKERS; count++) {
      assert.deepStrictEqual(await fixture.marker('exit'), { code: 0, signal: null });
    }
  }));
