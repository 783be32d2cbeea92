'use strict';

// rcluster/prom-client: the metrics of all workers, with the real prom-client, even if workers are blocked or
// dead.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { describe, test } = require('node:test');
const { get } = require('../../testing/clients.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');
const { withFixture } = require('../helpers/run-fixture.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const WORKERS = 3;

/** The values of a text, by name and labels. */
const parse = (text) =>
  Object.fromEntries(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );

function withWorkers(body, env = {}) {
  return withFixture('adapters/prom-client.js', { env }, async (fixture) => {
    const workers = [];
    for (let count = 0; count < WORKERS; count++) workers.push(await fixture.marker('listening'));
    const target = { port: workers[0].port, host: '127.0.0.1' };
    const ask = (url) => get({ ...target, path: url });
    const scrape = async () => {
      const { status, headers, body: text } = await ask('/metrics');
      assert.strictEqual(status, 200, text);
      assert.strictEqual(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
      return parse(text);
    };
    // A worker takes part when it has its lock.
    const join = () => until('all take part', async () => (await scrape()).alive === WORKERS);
    await join();
    await body({ fixture, ask, scrape, join });
    fixture.tell('disconnect');
    for (let count = 0; count < WORKERS; count++) await fixture.marker('exit');
  });
}

test('a worker that takes part drains as any other', { skip }, () => {
  const program = `
    const cluster = require(${JSON.stringify(OURS)});
    if (cluster.isPrimary) {
      const supervisor = cluster.supervise({ workers: 1, control: 'off', drainTimeout: 5000 });
      cluster.once('message', () => supervisor.shutdown());
      cluster.once('exit', (worker, code) => console.log(code));
      supervisor.on('drained', ({ resources }) => console.log(resources.Lock));
    } else {
      const metrics = new (require(${JSON.stringify(path.join(OURS, 'lib', 'adapters', 'prom-client.js'))}).ClusterRegistry)();
      require('node:http').createServer().listen(0, () => {
        void metrics.metrics().then(() => process.send('it takes part'));
      });
    }`;
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-prom-'));
  const file = path.join(directory, 'app.js');
  fs.writeFileSync(file, program);
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8' });
  fs.rmSync(directory, { recursive: true });
  assert.deepStrictEqual([status, stdout, stderr], [0, 'undefined\n0\n', '']);
});

describe('the metrics of all workers', { skip }, () => {
  test('are exact while no process counts, in every worker, and while the primary is blocked', () =>
    withWorkers(async ({ fixture, ask, scrape }) => {
      const served = new Set();
      let rounds = 0;
      // A worker that gets no CPU for a while may get no request of a round.
      for (; served.size < WORKERS; rounds++) {
        const answers = await Promise.all(
          Array.from({ length: 60 }, (_, size) => ask(`/a?size=${size * 5}`)),
        );
        for (const { headers } of answers) served.add(headers['x-pid']);
      }
      const expected = {
        'answered{path="/a"}': 60 * rounds,
        alive: WORKERS,
        'sizes_bucket{le="10"}': 3 * rounds,
        'sizes_bucket{le="100"}': 21 * rounds,
        'sizes_bucket{le="+Inf"}': 60 * rounds,
        sizes_count: 60 * rounds,
        sizes_sum: 8850 * rounds,
      };
      const scraped = await Promise.all(Array.from({ length: 9 }, scrape));
      for (const metrics of scraped) assert.deepStrictEqual(metrics, expected);

      fixture.tell('block', 'unblock');
      await fixture.marker('blocking');
      await ask('/b');
      assert.deepStrictEqual((await scrape())['answered{path="/b"}'], 1);
      await ask('/happens?what=unblock');
      await fixture.marker('unblocked');
    }));

  test('use the last report of a blocked worker', () =>
    withWorkers(
      async ({ ask, scrape }) => {
        await Promise.all(Array.from({ length: 30 }, () => ask('/a')));
        assert.strictEqual((await scrape())['answered{path="/a"}'], 30);
        await ask('/block?until=unblock');
        await ask('/b');
        const meanwhile = await scrape();
        assert.strictEqual(meanwhile['answered{path="/a"}'], 30);
        assert.strictEqual(meanwhile['answered{path="/b"}'], 1);
        assert.strictEqual(meanwhile['answered{path="/block"}'], undefined);
        assert.strictEqual(meanwhile.alive, WORKERS);
        await ask('/happens?what=unblock');
        const then = await scrape();
        assert.strictEqual(then['answered{path="/block"}'], 1);
        assert.strictEqual(then['answered{path="/a"}'], 30);
      },
      // So long, a scrape waits for the blocked worker; the others must answer in this time.
      { SCRAPE_TIMEOUT: '3000' },
    ));

  test('do not wait for a worker that is dead', () =>
    withWorkers(
      async ({ fixture, ask, scrape }) => {
        // Its JavaScript is blocked, so it does not answer, and the collector waits for an hour or for its
        // end.
        const { headers } = await ask('/block?until=never');
        const scrapes = Array.from({ length: 4 }, scrape);
        const first = await Promise.race([...scrapes, ask('/a').then(() => 'asked')]);
        assert.strictEqual(first, 'asked');
        process.kill(Number(headers['x-pid']), 'SIGKILL');
        for (const metrics of await Promise.all(scrapes)) assert.strictEqual(metrics.alive, WORKERS - 1);
        await fixture.marker('exit');
        fixture.tell('fork');
        await fixture.marker('listening');
      },
      { SCRAPE_TIMEOUT: '3600000' },
    ));

  test('do not decrease when workers die, and count each of them once', () =>
    withWorkers(async ({ fixture, ask, scrape, join }) => {
      let all = 0;
      for (let round = 0; round < 4; round++) {
        const answers = await Promise.all(Array.from({ length: 20 }, () => ask('/a')));
        all += answers.length;
        assert.strictEqual((await scrape())['answered{path="/a"}'], all);
        process.kill(Number(answers[0].headers['x-pid']), 'SIGKILL');
        await fixture.marker('exit');
        for (const metrics of await Promise.all(Array.from({ length: 6 }, scrape))) {
          assert.strictEqual(metrics['answered{path="/a"}'], all);
          assert.strictEqual(metrics.sizes_count, all);
          assert.strictEqual(metrics.alive, WORKERS - 1);
        }
        fixture.tell('fork');
        await fixture.marker('listening');
        await join();
      }
    }));
});

describe('ClusterRegistry', { skip }, () => {
  const cluster = isBuiltin ? undefined : require(OURS);
  const prom = isBuiltin ? undefined : require('prom-client');
  let count = 0;

  /** Several registries that share a store, as if they were in several processes. */
  function open(length, options, Registry = prom.Registry) {
    const { ClusterRegistry } = require('rcluster/prom-client');
    const store = cluster.shared(`metrics ${(count += 1)}`, { size: '16MB' });
    return Array.from({ length }, () => {
      const registry = new Registry();
      return { registry, metrics: new ClusterRegistry({ store, registry, interval: 3_600_000, ...options }) };
    });
  }

  const closeAll = (all) => Promise.all(all.map(({ metrics }) => metrics.close()));

  test('combines metrics by their aggregators, and keeps the counters of dead workers', async () => {
    const all = open(3);
    for (const [index, { registry }] of all.entries()) {
      const registers = [registry];
      const number = index + 1;
      const counter = new prom.Counter({ name: 'counter', help: 'h', labelNames: ['a'], registers });
      counter.inc({ a: 'x' }, number);
      counter.inc({ a: `own${number}` }, 1);
      for (const aggregator of ['sum', 'max', 'min', 'average', 'first', 'omit']) {
        new prom.Gauge({ name: `gauge_${aggregator}`, help: 'h', aggregator, registers }).set(number);
      }
      new prom.Histogram({ name: 'histogram', help: 'h', buckets: [2], registers }).observe(number);
      new prom.Summary({ name: 'summary', help: 'h', percentiles: [0.5], registers }).observe(number);
    }
    const rising = {
      'counter{a="x"}': 6,
      'counter{a="own1"}': 1,
      'counter{a="own2"}': 1,
      'counter{a="own3"}': 1,
      'histogram_bucket{le="2"}': 2,
      'histogram_bucket{le="+Inf"}': 3,
      histogram_sum: 6,
      histogram_count: 3,
      summary_sum: 6,
      summary_count: 3,
    };
    const first = parse(await all[0].metrics.metrics());
    const { gauge_first: any, ...rest } = first;
    assert([1, 2, 3].includes(any));
    assert.deepStrictEqual(rest, {
      ...rising,
      gauge_sum: 6,
      gauge_max: 3,
      gauge_min: 1,
      gauge_average: 2,
      'summary{quantile="0.5"}': 6,
    });
    await all[1].metrics.close();
    await all[2].metrics.close();
    for (let round = 0; round < 2; round++) {
      assert.deepStrictEqual(parse(await all[0].metrics.metrics()), {
        ...rising,
        gauge_sum: 1,
        gauge_max: 1,
        gauge_min: 1,
        gauge_average: 1,
        gauge_first: 1,
        'summary{quantile="0.5"}': 1,
      });
    }
    await closeAll(all);
  });

  test('reports the counts of a process until it closes', async () => {
    const all = open(2);
    const registers = [all[1].registry];
    const counter = new prom.Counter({ name: 'counter', help: 'h', registers });
    await all[0].metrics.metrics();
    counter.inc(5);
    await all[1].metrics.close();
    counter.inc(5);
    assert.strictEqual(parse(await all[0].metrics.metrics()).counter, 5);
    const registry = await all[0].metrics.collect();
    assert(registry instanceof prom.Registry);
    assert.strictEqual((await registry.getMetricsAsJSON())[0].values[0].value, 5);
    await closeAll(all);
  });

  test('produces OpenMetrics', async () => {
    const Open = class extends prom.Registry {
      constructor() {
        super(prom.Registry.OPENMETRICS_CONTENT_TYPE);
      }
    };
    const all = open(2, {}, Open);
    for (const { registry } of all) {
      new prom.Counter({ name: 'seen', help: 'h', registers: [registry] }).inc(2);
    }
    assert.strictEqual(all[0].metrics.contentType, prom.Registry.OPENMETRICS_CONTENT_TYPE);
    const text = await all[0].metrics.metrics();
    assert.strictEqual(parse(text).seen_total, 4);
    assert(text.endsWith('# EOF\n'));
    await closeAll(all);
  });

  test('reports at its interval', async () => {
    const all = open(1, { interval: 1 });
    const { registry, metrics } = all[0];
    let asked = 0;
    // Its own timers do not keep the process alive.
    const alive = setInterval(() => {}, 1000);
    await new Promise((resolve) => {
      const collect = () => (asked += 1) === 5 && resolve(undefined);
      registry.registerMetric(new prom.Gauge({ name: 'gauge', help: 'h', registers: [], collect }));
    });
    clearInterval(alive);
    await metrics.close();
  });

  test('reports metrics that it does not support', async () => {
    const all = open(2);
    const collect = () => {
      throw new Error('no measurement');
    };
    all[1].registry.registerMetric(new prom.Gauge({ name: 'gauge', help: 'h', registers: [], collect }));
    const warned = new Promise((resolve) => process.once('warning', resolve));
    await all[0].metrics.metrics();
    const { code, message } = await warned;
    assert.strictEqual(code, 'RCLUSTER_METRICS');
    assert.match(message, /no measurement/);
    await assert.rejects(closeAll(all), /no measurement/);
  });

  test('refuses unknown options', () => {
    const { ClusterRegistry } = require('rcluster/prom-client');
    assert.throws(() => new ClusterRegistry({ intervall: 1 }), /Did you mean "interval"\?/);
    assert.throws(() => new ClusterRegistry({ interval: 0 }), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => new ClusterRegistry({ timeout: '1' }), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => new ClusterRegistry({ registry: {} }), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => new ClusterRegistry({ store: {} }), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});
