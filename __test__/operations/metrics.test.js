'use strict';

// Metrics: their contents, in both formats, even while the primary's JavaScript is blocked; and counters only
// rise.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { readExposition, valueOf } = require('../../testing/exposition.js');
const { ask, withProbes } = require('../../testing/probes.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');
const { fatal } = require('../../testing/supervised.js');

const skip = isBuiltin && 'the built-in does not supervise';

/** As Prometheus sends it. */
const PROMETHEUS =
  'application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,' +
  'text/plain;version=0.0.4;q=0.3,*/*;q=0.2';

/**
 * @param {import('../../testing/probes.js').Address} address
 * @param {'openmetrics' | 'prometheus'} [format]
 */
async function scrape(address, format = 'openmetrics') {
  const accept = format === 'openmetrics' ? PROMETHEUS : '*/*';
  const { status, body, headers } = await ask(address, '/metrics', { headers: { accept } });
  assert.strictEqual(status, 200);
  const type =
    format === 'openmetrics' ? 'application/openmetrics-text; version=1.0.0' : 'text/plain; version=0.0.4';
  assert.strictEqual(headers['content-type'], `${type}; charset=utf-8`);
  return { text: body, families: readExposition(body, format) };
}

/** The values of a scrape that only increase, by name and labels. */
function rising(families) {
  const all = [...families.values()].filter(({ type }) => type === 'counter' || type === 'histogram');
  const samples = all.flatMap((family) => family.samples);
  return new Map(samples.map(({ name, labels, value }) => [`${name} ${JSON.stringify(labels)}`, value]));
}

test('both formats describe the cluster', { skip }, () =>
  withProbes({ workers: 2, unresponsiveAfter: 60_000 }, async (app, address, control) => {
    for (let count = 0; count < 5; count++) await app.who();
    const listener = `${app.target.port}`;
    for (const format of ['openmetrics', 'prometheus']) {
      const { families } = await scrape(address, format);
      const value = (name, labels) => valueOf(families, name, labels);
      assert.strictEqual(value('rcluster_info', { node_version: process.versions.node }), 1);
      assert.strictEqual(value('rcluster_workers', { state: 'ready' }), 2);
      assert.strictEqual(value('rcluster_workers_wanted'), 2);
      assert.strictEqual(value('rcluster_accepted_total', { listener }), 5);
      // A connection that is reclaimed or returned is passed again.
      assert.ok(value('rcluster_passed_total', { listener }) >= 5);
      assert.strictEqual(value('rcluster_worker_boot_seconds_count'), 2);
      for (const slot of ['0', '1']) {
        assert.strictEqual(value('rcluster_slot_state', { slot, state: 'serving' }), 1);
        assert.strictEqual(value('rcluster_slot_state', { slot, state: 'filling' }), 0);
        assert.ok(value('process_memory_usage_bytes', { slot }) > 1e6);
        assert.ok(value('process_cpu_seconds_total', { slot }) > 0);
        assert.ok(value('nodejs_eventloop_time_seconds_total', { slot }) > 0);
      }
      const clients = ['0', '1'].map((slot) => value('rcluster_clients_total', { slot }));
      assert.strictEqual(clients[0] + clients[1], 5);
      assert.ok(value('process_memory_usage_bytes', { slot: 'primary' }) > 1e6);
    }
    const client = await connect({ control });
    const families = readExposition(await client.metrics(), 'openmetrics');
    assert.strictEqual(valueOf(families, 'rcluster_accepted_total', { listener }), 5);
    client.close();
    const pids = [app.pid, ...app.workers.map(({ pid }) => pid)].map(String);
    for (const { samples } of families.values()) {
      for (const { labels } of samples) {
        assert.ok(!Object.values(labels).some((label) => pids.includes(label)), 'no label is a pid');
      }
    }
  }),
);

test('they answer while the JavaScript of the primary and of a worker is blocked', { skip }, () =>
  withProbes({ workers: 2 }, async (app, address) => {
    app.tell('block', app.inDirectory('go on'));
    await app.marker('blocked');
    app.ask('hang').catch(() => {});
    await until('a worker hangs', async () => {
      const { families } = await scrape(address);
      const at = ['0', '1'].map((slot) => valueOf(families, 'rcluster_connections', { slot }));
      return at[0] + at[1] > 0;
    });
    const { families } = await scrape(address);
    assert.strictEqual(valueOf(families, 'rcluster_workers', { state: 'ready' }), 2);
    fs.writeFileSync(app.inDirectory('go on'), '');
    await app.marker('unblocked');
  }),
);

test(
  'counters only increase, whatever happens to the workers, and the number of series does not',
  { skip },
  () =>
    withProbes({ workers: 2, backoff: { initial: 0, jitter: 0 } }, async (app, address) => {
      for (let count = 0; count < 4; count++) await app.who();
      const before = await scrape(address);
      let last = rising(before.families);
      const check = async () => {
        const { families } = await scrape(address);
        const now = rising(families);
        for (const [name, value] of last) {
          assert.ok(now.get(name) >= value, `${name}: ${value}, then ${now.get(name)}`);
        }
        last = now;
        return families;
      };
      process.kill(app.workers[0].pid, 'SIGKILL');
      await app.marker('restart');
      await until(
        'it is replaced',
        async () => valueOf(await check(), 'rcluster_workers', { state: 'ready' }) === 2,
      );
      await fatal(app, 'exit/3');
      await app.marker('restart');
      await until(
        'it is replaced',
        async () => valueOf(await check(), 'rcluster_workers', { state: 'ready' }) === 2,
      );
      app.tell('reload');
      await app.marker('done');
      app.tell('scale', 1);
      await app.marker('done');
      // A reload does not wait for the end of the workers that it has replaced.
      const families = await until('all have drained', async () => {
        const now = await check();
        return valueOf(now, 'rcluster_drain_seconds_count') >= 3 && now;
      });
      const restarts = families.get('rcluster_restarts').samples;
      assert.strictEqual(
        restarts.reduce((sum, { value }) => sum + value, 0),
        2,
      );
      const reasons = restarts.filter(({ value }) => value > 0).map(({ labels }) => labels.reason);
      assert.deepStrictEqual(reasons, ['crash', 'crash']);
      assert.strictEqual(valueOf(families, 'rcluster_reloads_total', { result: 'done' }), 1);
      const clients = families.get('rcluster_clients').samples.reduce((sum, { value }) => sum + value, 0);
      assert.ok(clients >= 5, `${clients} clients, of workers that are gone as well`);
      const count = (scraped) => [...scraped.values()].flatMap(({ samples }) => samples).length;
      assert.ok(count(families) <= count(before.families), 'also those of failures were there before');
    }),
);

const promtool = spawnSync('promtool', ['--version']).status === 0;

test('promtool finds no errors', { skip: skip || (!promtool && 'promtool is not installed') }, () =>
  withProbes({ workers: 2 }, async (app, address) => {
    await app.who();
    process.kill(app.workers[0].pid, 'SIGKILL');
    await app.marker('restart');
    // It supports the older format only.
    const { text } = await scrape(address, 'prometheus');
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input: text,
      encoding: 'utf8',
    });
    assert.deepStrictEqual([status, stdout, stderr], [0, '', '']);
  }),
);

test('the parser of metrics detects errors', () => {
  const good = '# HELP a_b A.\n# TYPE a_b counter\na_b_total{c="d\\"\\\\\\n,}"} 1\n# EOF\n';
  assert.strictEqual(valueOf(readExposition(good, 'openmetrics'), 'a_b_total', { c: 'd"\\\n,}' }), 1);
  for (const [from, to] of [
    ['# EOF\n', ''],
    ['a_b_total', 'a_b'],
    [' 1', ' x'],
    [' 1', ' -1'],
    ['c=', '1c='],
    ['"} 1', '",} 1'],
    ['# TYPE', '# KIND'],
    ['# EOF', 'a_b_total 1\na_b_total 1\n# EOF'],
    ['# EOF', '# TYPE b gauge\n# EOF'],
    ['# EOF', '# TYPE b gauge\nb 1\n# TYPE a_b counter\n# EOF'],
  ]) {
    assert.notStrictEqual(good.replace(from, to), good);
    assert.throws(() => readExposition(good.replace(from, to), 'openmetrics'), Error, `${from} ${to}`);
  }
  const bucket = (le, count) => `h_bucket{le="${le}"} ${count}\n`;
  const histogram = (count) =>
    `# HELP h H.\n# TYPE h histogram\n${bucket(1, 2)}${bucket('+Inf', 3)}h_sum 4\nh_count ${count}\n`;
  readExposition(histogram(3), 'prometheus');
  assert.throws(() => readExposition(histogram(2), 'prometheus'));
});
