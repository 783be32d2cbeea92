'use strict';

// The limits of the container: CPUs and memory, read from control groups, here from a folder of the test.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withSupervised } = require('../../testing/supervised.js');
const os = require('node:os');

const skip = isBuiltin && 'the built-in knows no limits';

/**
 * @param {Record<string, string>} files
 * @param {(group: (files: Record<string, string>) => void, env: Record<string, string>) => Promise<void>} body
 */
async function withGroup(files, body) {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-cgroup-'));
  const group = (/** @type {Record<string, string>} */ changed) => {
    for (const [name, text] of Object.entries(changed)) {
      // Atomically: a reader must not find a part of it.
      fs.writeFileSync(path.join(root, 'new'), text);
      fs.renameSync(path.join(root, 'new'), path.join(root, name));
    }
  };
  group(files);
  try {
    await body(group, { RCLUSTER_CGROUP_ROOT: root });
  } finally {
    fs.rmSync(root, { recursive: true });
  }
}

const MEMORY = {
  'memory.max': '1073741824\n',
  'memory.current': '268435456\n',
  'memory.events': 'low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n',
  'cpu.stat': 'usage_usec 1\nnr_periods 9\nnr_throttled 2\nthrottled_usec 7000\n',
};

test('the status document has the limits of the container', { skip }, () =>
  withGroup({ ...MEMORY, 'cpu.max': '150000 100000\n' }, (group, env) =>
    withSupervised(
      { workers: 1, control: path.join(env.RCLUSTER_CGROUP_ROOT, 'c.sock') },
      async () => {
        const cluster = await connect({ control: path.join(env.RCLUSTER_CGROUP_ROOT, 'c.sock') });
        const { cgroup, cpus } = await cluster.status();
        assert.deepStrictEqual(cgroup, {
          cpus: 1.5,
          memoryLimit: 1073741824,
          memoryUsage: 268435456,
          throttled: 7,
          oomKills: 1,
        });
        assert.strictEqual(cpus, 1);
        group({ 'cpu.max': 'max 100000\n', 'memory.max': 'max\n' });
        const changed = await cluster.status();
        assert.deepStrictEqual([changed.cgroup?.cpus, changed.cgroup?.memoryLimit], [null, null]);
        await cluster.close();
      },
      { env },
    ),
  ),
);

const twoCpus = skip || (os.availableParallelism() < 2 && 'it takes two CPUs');

test("workers: 'auto' follows a quota that grows", { skip: twoCpus }, () =>
  withGroup({ 'cpu.max': '100000 100000\n' }, (group, env) =>
    withSupervised(
      // @ts-ignore The body begins before the workers are ready.
      { workers: 'auto' },
      async (app) => {
        assert.strictEqual((await app.marker('ready')).slot, 0);
        group({ 'cpu.max': '200000 100000\n' });
        assert.deepStrictEqual(await app.marker('follow'), { cpus: 2, workers: 2 });
        assert.strictEqual((await app.marker('ready')).slot, 1);
      },
      { env, listen: false },
    ),
  ),
);

test("workers: 'auto' follows a quota that shrinks", { skip: twoCpus }, () =>
  withGroup({ 'cpu.max': '200000 100000\n' }, (group, env) =>
    withSupervised(
      // @ts-ignore The body begins before the workers are ready.
      { workers: 'auto' },
      async (app) => {
        await app.marker('ready');
        await app.marker('ready');
        group({ 'cpu.max': '100000 100000\n' });
        assert.deepStrictEqual(await app.marker('follow'), { cpus: 1, workers: 1 });
        assert.deepStrictEqual((await app.marker('exit')).slot, 1);
      },
      { env, listen: false },
    ),
  ),
);

test('a fraction of all memory is divided among the workers', { skip }, () =>
  withGroup({ 'memory.max': `${2 ** 40}\n` }, (group, env) =>
    withSupervised(
      { workers: 2, recycle: { memory: '50%', jitter: 0 } },
      async (app) => {
        // Less than a worker uses: it is exceeded as soon as it is read.
        group({ 'memory.max': `${40 * 2 ** 20}\n` });
        const { cause, limit, value } = await app.marker('recycle');
        assert.deepStrictEqual([cause, limit], ['memory', 10 * 2 ** 20]);
        assert.ok(value > limit);
      },
      { env },
    ),
  ),
);

test('an out-of-memory SIGKILL is distinguished by the counter of the group', { skip }, () =>
  withGroup(MEMORY, (group, env) =>
    withSupervised(
      { workers: 1 },
      async (app) => {
        await app.marker('spawn');
        await app.marker('ready');
        process.kill(app.workers[0].pid, 'SIGKILL');
        assert.doesNotMatch((await app.marker('restart')).reason, /memory/);
        const { pid } = await app.marker('spawn');
        await app.marker('ready');
        group({ 'memory.events': 'low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\n' });
        process.kill(pid, 'SIGKILL');
        assert.match((await app.marker('restart')).reason, /memory/);
      },
      { env },
    ),
  ),
);
