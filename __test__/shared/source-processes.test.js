'use strict';

// shared() with a source in several processes: one of them loads, all others receive the changes, and another
// one takes over when it dies.

const assert = require('node:assert');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { runProgram } = require('../../testing/run-program.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';

/** Waits for a message after a number of marks. */
async function said(fixture, since, fits) {
  for (;;) {
    const found = fixture.marks.slice(since).find(fits);
    if (found !== undefined) return found;
    await new Promise((resolve) => fixture.news.once('news', resolve));
  }
}

/** Waits for loads after a number of marks, and returns which processes made them. */
async function loaders(fixture, since, count) {
  for (;;) {
    const marks = fixture.marks.slice(since).flatMap(({ mark }) => /^load (\d+)$/.exec(mark)?.[1] ?? []);
    if (marks.length >= count) return new Set(marks.map(Number));
    await new Promise((resolve) => fixture.news.once('news', resolve));
  }
}

/** @returns {Promise<Map<number, number>>} the workers' pids, when all have been notified of the first load */
async function ready(fixture, count) {
  const pids = new Map();
  while (pids.size < count) {
    const { id, pid } = await fixture.marker('online');
    pids.set(id, pid);
  }
  for (const id of pids.keys()) await fixture.marker(`ready ${id}`);
  return pids;
}

describe('a source', { skip }, () => {
  test('is loaded by one worker at a time, all are notified, and another continues when that one is killed', () =>
    withFixture('sources.js', { env: { COUNT: '3' }, deadline: 120_000 }, async (fixture) => {
      const pids = await ready(fixture, 3);
      for (let round = 0; round < 4; round++) {
        const since = fixture.marks.length;
        const [loader, ...others] = await loaders(fixture, since, 3);
        assert.deepStrictEqual(others, [], 'nobody else loads');
        for (const id of pids.keys()) {
          const fits = ({ mark, data }) => mark === `told ${id}` && data.pid === pids.get(loader);
          await said(fixture, since, fits);
        }
        process.kill(pids.get(loader), 'SIGKILL');
        await fixture.marker(`exit ${loader}`);
        pids.delete(loader);
        fixture.tell('fork', {});
        // A process that joins later reads the content.
        const [[id, pid]] = await ready(fixture, 1);
        pids.set(id, pid);
      }
    }));

  test('moves when its worker leaves', () =>
    withFixture('sources.js', { env: { COUNT: '2' } }, async (fixture) => {
      const ids = [...(await ready(fixture, 2)).keys()];
      const [first] = await loaders(fixture, fixture.marks.length, 1);
      fixture.tell('retire', { id: first });
      const [other] = ids.filter((id) => id !== first);
      await said(fixture, 0, ({ mark }) => mark === `load ${other}`);
      await said(fixture, 0, ({ mark }) => mark === `exit ${first}`);
    }));

  test('moves while the JavaScript of the primary is blocked', () =>
    withFixture('sources.js', { env: { COUNT: '2' } }, async (fixture) => {
      const pids = await ready(fixture, 2);
      const [first] = await loaders(fixture, fixture.marks.length, 1);
      fixture.tell('block', { not: pids.get(first) });
      await fixture.marker('blocks');
      process.kill(pids.get(first), 'SIGKILL');
      await fixture.marker('unblocked');
    }));

  for (const [what, options] of [
    ['a source that never loads', '{ source: { load: () => new Promise(() => {}), every: 1000 } }'],
    ['a server that is never reached', "{ backend: 'redis://127.0.0.1:1' }"],
  ]) {
    test(`a worker that has left no longer waits for ${what}`, async () => {
      const program = `
        const cluster = require(${JSON.stringify(OURS)});
        if (cluster.isPrimary) {
          const worker = cluster.fork();
          worker.on('message', () => worker.disconnect());
          worker.on('exit', (code) => console.log('exit', code));
        } else {
          const store = cluster.shared('store', ${options});
          const rejected = (error) => console.log(error.code);
          store.ready.catch(rejected);
          process.on('disconnect', () => store.ready.catch(rejected));
          process.send('waits');
        }`;
      const { stdout } = await runProgram(program);
      const codes = ['ERR_RCLUSTER_GONE', 'ERR_RCLUSTER_GONE', 'exit 0'];
      assert.deepStrictEqual(stdout.trim().split('\n'), codes);
    });
  }
});
