'use strict';

// The metrics that workers keep with prom-client are served by the primary's listener: of all workers, also while the
// primary's JavaScript or a worker is blocked, and of those that have ended.

const assert = require('node:assert');
const { execFile } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { connect } = require('../../control.js');
const { readExposition, valueOf } = require('../../testing/exposition.js');
const { ask, withProbes } = require('../../testing/probes.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in does not supervise';
const SCRIPT = path.join(__dirname, '..', 'fixtures', 'supervision', 'prom-client.js');

/**
 * @param {Record<string, unknown> & { workers: number }} options
 * @param {(app: import('../../testing/supervised.js').Supervised, scrape: Function) => Promise<void>} body
 */
function withRegistries(options, body) {
  return withProbes(
    options,
    async (app, address) => {
      const scrape = async (format = 'openmetrics') => {
        const accept = format === 'openmetrics' ? 'application/openmetrics-text' : 'text/plain';
        const { status, body: text } = await ask(address, '/metrics', { headers: { accept } });
        assert.strictEqual(status, 200);
        const families = readExposition(text, format);
        return { families, value: (name, labels) => valueOf(families, name, labels) };
      };
      await body(app, scrape);
    },
    { env: { SCRIPT } },
  );
}

/**
 * Scrapes until this many workers are missing, and all others have reported: that may take a while on a busy machine.
 * @param {Function} scrape
 * @param {number} missing
 * @param {string} [format]
 */
function settled(scrape, missing, format) {
  return until(`${missing} are missing`, async () => {
    const scraped = await scrape(format);
    const isSettled = scraped.value('rcluster_scrape_missing_workers') === missing;
    return isSettled && scraped.value('app_jobs_total') !== undefined && scraped;
  });
}

/** Sends requests until each worker has counted one. @returns the total count */
async function countInAll(app) {
  const seen = new Set();
  let count = 0;
  while (seen.size < app.workers.length) {
    seen.add((await app.who()).pid);
    count++;
  }
  return count;
}

test('they are merged, even while the primary is blocked', { skip }, () =>
  withRegistries({ workers: 2 }, async (app, scrape) => {
    const count = await countInAll(app);
    app.tell('block', app.inDirectory('go on'));
    await app.marker('blocked');
    for (const format of ['openmetrics', 'prometheus']) {
      const { families, value } = await settled(scrape, 0, format);
      assert.strictEqual(value('app_jobs_total', { kind: 'a"b' }), count);
      assert.strictEqual(value('app_workers'), 2);
      assert.strictEqual(value('app_time_seconds_count'), count);
      assert.strictEqual(value('app_time_seconds_bucket', { le: '1' }), 0);
      assert.strictEqual(value('app_time_seconds_sum'), 1.5 * count);
      assert.ok(Number.isNaN(value('app_odd')));
      assert.ok(value('nodejs_heap_size_total_bytes') > 1e6, 'those that prom-client collects');
      assert.strictEqual(value('rcluster_scrape_missing_workers'), 0);
      const cpu = families.get(
        format === 'openmetrics' ? 'process_cpu_seconds' : 'process_cpu_seconds_total',
      );
      assert.ok(
        cpu.samples.every(({ labels }) => 'slot' in labels),
        'by this name there are only ours',
      );
    }
    fs.writeFileSync(app.inDirectory('go on'), '');
    await app.marker('unblocked');
  }),
);

test('millions of bytes pass through the control socket, several times over one connection', { skip }, () =>
  withProbes(
    { workers: 4 },
    async (app, address, control) => {
      const client = await connect({ control });
      // More than may wait for a client otherwise.
      const enough = 4 << 20;
      await until('all have reported', async () => (await client.metrics()).length > enough);
      const texts = await Promise.all(Array.from({ length: 5 }, () => client.metrics()));
      assert.ok(texts.every((text) => text.length > enough && text.endsWith('# EOF\n')));
      assert.strictEqual((await client.status()).slots.length, 4);
      client.close();
      const command = [
        path.join(__dirname, '..', '..', 'bin', 'rcluster.js'),
        'metrics',
        '--control',
        control,
      ];
      const { stdout } = await promisify(execFile)(process.execPath, command, { maxBuffer: 64 << 20 });
      assert.ok(stdout.length > enough && stdout.endsWith('# EOF\n'));
    },
    { env: { SCRIPT, FILL: '8500' } },
  ),
);

test('what a worker has counted since the last scrape is kept when it is replaced', { skip }, () =>
  withRegistries({ workers: 2 }, async (app, scrape) => {
    const count = await countInAll(app);
    app.tell('reload');
    await app.marker('done');
    const { value } = await settled(scrape, 0);
    assert.strictEqual(value('app_jobs_total'), count);
  }),
);

test('a worker that hangs counts with its last report, and one that has ended still counts', { skip }, () =>
  withRegistries({ workers: 2, backoff: { initial: 0, jitter: 0 } }, async (app, scrape) => {
    const before = await countInAll(app);
    assert.strictEqual((await settled(scrape, 0)).value('app_jobs_total'), before);
    const hangs = http.get({ ...app.target, path: '/hang', agent: false }).on('error', () => {});
    const [response] = await once(hangs, 'response');
    await once(
      response.on('error', () => {}),
      'data',
    );
    // The other worker counts.
    const { pid } = await app.who();
    const meanwhile = await settled(scrape, 1);
    assert.strictEqual(meanwhile.value('app_jobs_total'), before + 1);
    assert.strictEqual(meanwhile.value('app_workers'), 2);

    process.kill(app.workers.find((worker) => worker.pid !== pid).pid, 'SIGKILL');
    await app.marker('exit');
    const after = await until('nobody is missing', async () => {
      const scraped = await scrape();
      assert.strictEqual(scraped.value('app_jobs_total'), before + 1, 'it does not fall');
      const isNew = scraped.value('rcluster_scrape_missing_workers') === 0;
      return isNew && scraped.value('app_workers') === 2 && scraped;
    });
    assert.strictEqual(after.value('rcluster_scrape_missing_workers'), 0);
    assert.strictEqual(after.value('app_time_seconds_count'), before + 1);
  }),
);

test('requests for metrics that wait for a worker leave room for probes', { skip }, () =>
  withProbes(
    { workers: 2 },
    async (app, address) => {
      await countInAll(app);
      await until('both report', async () => /^app_workers 2$/m.test((await ask(address, '/metrics')).body));
      process.kill(app.workers[1].pid, 'SIGSTOP');
      const scrapes = Array.from({ length: 60 }, () => ask(address, '/metrics'));
      assert.strictEqual((await ask(address, '/livez')).status, 200);
      const answers = (await Promise.all(scrapes)).map(({ status, body }) =>
        status === 200 ? status : body,
      );
      assert.deepStrictEqual(
        new Set(answers),
        new Set([200, 'too many requests for metrics are being answered\n']),
      );
      process.kill(app.workers[1].pid, 'SIGCONT');
    },
    { env: { SCRIPT } },
  ),
);

test('a closed registry is not queried any more', { skip }, () =>
  withRegistries({ workers: 1 }, async (app, scrape) => {
    await app.who();
    assert.strictEqual((await settled(scrape, 0)).value('app_jobs_total'), 1);
    await app.ask('close');
    await app.who();
    const { value } = await scrape();
    assert.strictEqual(value('app_jobs_total'), 1, 'what it has told last');
    assert.strictEqual(value('rcluster_scrape_missing_workers'), 0);
  }),
);
