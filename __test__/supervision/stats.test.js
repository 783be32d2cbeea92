'use strict';

// stats() contains the main facts about each slot; a stack goes through source maps if the workers' own stacks do.

const assert = require('node:assert');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { withSupervised } = require('../../testing/supervised.js');
const { hasSourceMaps, mapStack } = require('../../lib/primary/supervise/source-maps.js');

const skip = isBuiltin && 'the built-in does not supervise';

test('stats of each slot: process, age, memory, utilization and the last exit', { skip }, () =>
  withSupervised({ workers: 2 }, async (app) => {
    const before = Date.now();
    const [{ id, pid }, other] = app.workers;
    process.kill(pid, 'SIGKILL');
    const next = await app.marker('listening');
    const slots = await until('its loop has turned', async () => {
      app.tell('stats');
      const stats = await app.marker('stats');
      return stats.slots.every(({ utilization }) => utilization > 0) && stats.slots;
    });
    assert.deepStrictEqual([slots[0].pid, slots[1].pid], [next.pid, other.pid]);
    for (const { uptime, memory, utilization } of slots) {
      assert.ok(uptime > 0 && memory > 1e6, `${uptime} ms, ${memory} bytes`);
      assert.ok(utilization > 0 && utilization <= 1, `${utilization}`);
    }
    const { at, ...last } = slots[0].lastExit;
    const expected = {
      worker: id,
      pid,
      code: null,
      signal: 'SIGKILL',
      reason: 'signal',
      detail: 'it ended by SIGKILL',
      error: null,
      stderrTail: [],
    };
    assert.deepStrictEqual(last, expected);
    assert.ok(at >= before - 1 && at <= Date.now());
    assert.strictEqual(slots[1].lastExit, null);
  }),
);

test('an unresponsive worker: the reason is reported before its consequences', { skip }, () =>
  withSupervised({ workers: 1, unresponsiveAfter: 200 }, async (app) => {
    const [{ id, pid }] = app.workers;
    const asked = app.ask('hang').catch(() => {});
    const unresponsive = await app.marker('unresponsive');
    const restart = await app.marker('restart');
    assert.deepStrictEqual([unresponsive.worker, unresponsive.pid], [id, pid]);
    assert.deepStrictEqual([restart.worker, restart.pid, restart.phase], [id, pid, 'service']);
    const events = app.output.match(/(?<=\(mark \{"mark":")(unresponsive|restart)(?=")/g);
    assert.deepStrictEqual(events, ['unresponsive', 'restart']);
    await asked;
  }),
);

test('a slot that is given up names its last worker', { skip }, () =>
  withSupervised({ workers: 2, restartIntensity: { max: 0 } }, async (app) => {
    const [{ id, pid }] = app.workers;
    process.kill(pid, 'SIGKILL');
    const gaveUp = await app.marker('gave-up');
    assert.deepStrictEqual([gaveUp.worker, gaveUp.pid, gaveUp.slot], [id, pid, 0]);
    assert.deepStrictEqual([gaveUp.signal, gaveUp.reason], ['SIGKILL', 'it ended by SIGKILL']);
  }),
);

test('a stack has the positions in the source, if there is a readable map', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-map-'));
  try {
    // Line 1, column 1 of the file is line 3, column 5 of the source.
    const map = JSON.stringify({ version: 3, sources: ['src.ts'], names: [], mappings: 'AAEI' });
    const write = (/** @type {string} */ name, /** @type {string} */ url) => {
      const file = path.join(folder, name);
      fs.writeFileSync(file, `x;\n//# sourceMappingURL=${url}\n`);
      return file;
    };
    fs.writeFileSync(path.join(folder, 'a.js.map'), map);
    const a = write('a.js', 'a.js.map');
    const inline = write('b.js', `data:application/json;base64,${Buffer.from(map).toString('base64')}`);
    const missing = write('c.js', 'missing.map');
    const source = path.join(folder, 'src.ts');
    const stack = [
      `    at f (${a}:1:1)`,
      `    at ${pathToFileURL(a)}:1:1`,
      `    at g (${inline}:1:1)`,
      `    at h (${missing}:1:1)`,
      '    at listOnTimeout (node:internal/timers:581:17)',
    ];
    assert.deepStrictEqual(mapStack(stack.join('\n')).split('\n'), [
      `    at f (${source}:3:5)`,
      `    at ${source}:3:5`,
      `    at g (${source}:3:5)`,
      ...stack.slice(3),
    ]);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test('source maps are enabled by the options of Node', () => {
  assert.ok(hasSourceMaps(['--enable-source-maps'], {}));
  assert.ok(hasSourceMaps([], { NODE_OPTIONS: '--no-warnings --enable-source-maps' }));
  assert.ok(!hasSourceMaps([], {}));
  assert.ok(!hasSourceMaps(['--enable-source-maps', '--no-enable-source-maps'], {}));
});
