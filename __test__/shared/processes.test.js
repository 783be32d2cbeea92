'use strict';

// cluster.shared() in several processes: all others read and receive what one writes, even if processes die
// meanwhile.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { runProgram } = require('../../testing/run-program.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';

/** @param {any} fixture */
const ask = (fixture) => (command, id, of) => {
  fixture.tell(command, { id, of });
  return fixture.marker(`done ${id}`);
};

describe('a shared store', { skip }, () => {
  for (const WAY of ['fork', 'supervise']) {
    test(`is the same in the primary and in workers of ${WAY}()`, () =>
      withFixture('shared.js', { env: { WAY, COUNT: '2' } }, async (fixture) => {
        const workers = [await fixture.marker('online'), await fixture.marker('online')].map(({ id }) => id);
        const command = ask(fixture);
        for (const writer of [0, ...workers]) {
          const value = { from: writer };
          assert.strictEqual((await command('set', writer, ['key', value])).ok, true);
          for (const reader of [0, ...workers]) {
            assert.deepStrictEqual(await command('get', reader, 'key'), value);
          }
        }
        for (const id of workers) {
          assert.strictEqual(await command('error', id), 'ERR_RCLUSTER_SHARED_OPTIONS');
        }
        await Promise.all([0, ...workers].map((id) => command('increment', id, ['n', 3000])));
        assert.strictEqual(await command('get', 0, 'n'), 9000);
      }));
  }

  test('cannot be opened when the primary is gone, and the error says so', async () => {
    const program = `
      const cluster = require(${JSON.stringify(OURS)});
      if (cluster.isPrimary) {
        cluster.fork().on('message', () => process.kill(process.pid, 'SIGKILL'));
      } else {
        const store = cluster.shared('open');
        process.on('exit', () => {
          for (const open of [() => cluster.shared('other'), () => store.tally('t')]) {
            try { open(); } catch (error) { console.log(error.code); }
          }
        });
        process.send('ready');
      }`;
    const { stdout, signal } = await runProgram(program);
    assert.strictEqual(signal, 'SIGKILL');
    assert.deepStrictEqual(stdout.trim().split('\n'), ['ERR_RCLUSTER_GONE', 'ERR_RCLUSTER_GONE']);
  });

  test('works while the JavaScript of the primary is blocked', () =>
    withFixture('shared.js', { env: { COUNT: '2' } }, async (fixture) => {
      const [first, second] = [await fixture.marker('online'), await fixture.marker('online')];
      const command = ask(fixture);
      const echoed = command('echo', second.id, ['n', 500]);
      fixture.tell('increment', { id: first.id, of: ['n', 1000] });
      // It blocks until one worker has received the writes of the other, and has written itself.
      await command('block', 0, ['echo', 500]);
      await Promise.all([echoed, fixture.marker(`done ${first.id}`)]);
      assert.strictEqual(await command('get', 0, 'n'), 1000);
    }));

  test('loses nothing that was acknowledged when workers are killed', () =>
    withFixture('shared.js', { env: { COUNT: '3' }, deadline: 120_000 }, async (fixture) => {
      const command = ask(fixture);
      let [sent, acknowledged] = [0, 0];
      const watcher = await fixture.marker('online');
      const watched = command('watch', watcher.id);
      for (let round = 0; round < 20; round++) {
        const { id, pid } = await fixture.marker('online');
        fixture.tell('storm', { id });
        const batches = 1 + (round % 3);
        for (let i = 0; i < batches; i++) await fixture.marker(`acknowledged ${id}`);
        process.kill(pid, 'SIGKILL');
        assert.strictEqual((await fixture.marker(`exit ${id}`)).signal, 'SIGKILL');
        const last = (name) =>
          Math.max(
            0,
            ...fixture.marks.filter(({ mark }) => mark === `${name} ${id}`).map(({ data }) => data),
          );
        sent += last('sending');
        acknowledged += Math.max(last('acknowledged'), 20 * batches);
        fixture.tell('fork', {});
      }
      await command('set', 0, ['end', true]);
      const seen = await watched;
      const counted = await command('get', 0, 'count');
      assert(acknowledged <= counted && counted <= sent, `${acknowledged} <= ${counted} <= ${sent}`);
      const last = await fixture.marker('online');
      for (const id of [0, watcher.id, last.id]) {
        assert.strictEqual(await command('get', id, 'count'), counted);
      }
      assert.strictEqual(seen.count, counted);
    }));
});

test('the end of the primary is not told as a loss', { skip }, () => {
  const program = path.join(__dirname, '..', 'fixtures', 'primary-exits.js');
  // Workers end a moment after their primary, and hold the pipes until then.
  const { status, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
  assert.deepStrictEqual([status, stderr], [0, '']);
});
