'use strict';

// cluster.request() and cluster.notify() between processes: their targets, and how they settle.

const assert = require('node:assert');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no requests between workers';

/** Sends a process a command, and waits until it is done. Process 0 is the primary. */
const asker = (fixture) => (command, id, of) => {
  fixture.tell(command, { id, of });
  return fixture.marker(id === 0 ? 'done' : `done ${id}`);
};

/** The processes `count` of which have come online. */
async function online(fixture, count) {
  const workers = [];
  while (workers.length < count) workers.push(await fixture.marker('online'));
  return workers.sort((one, other) => one.id - other.id);
}

/** A cluster with a number of workers. */
const withCluster = (options, body) =>
  withFixture('exchange.js', { env: options }, async (fixture) =>
    body({
      fixture,
      ask: asker(fixture),
      workers: await online(fixture, Number(options.COUNT ?? 2)),
    }),
  );

const code = (answer) => answer.error?.code;

describe('a request', { skip }, () => {
  for (const WAY of ['fork', 'supervise']) {
    test(`leads to the process that its target names, with workers of ${WAY}()`, () =>
      withCluster({ WAY, COUNT: '3' }, async ({ ask, workers }) => {
        const pids = new Map(workers.map(({ id, pid }) => [id, pid]));
        const [one, two, three] = workers.map(({ id }) => id);
        for (const id of [0, one, two, three]) await ask('handle', id, ['echo']);
        for (const from of [0, one]) {
          // Workers of fork() do not know their slot.
          const slot = WAY === 'fork' ? 2 : await ask('slot', 0, three);
          for (const [target, id] of [
            [two, two],
            [from === 0 ? one : from, from === 0 ? one : from],
            [{ slot }, three],
          ]) {
            const { value } = await ask('request', from, [target, 'echo', { some: 'data' }]);
            const expected = { data: { some: 'data' }, from, name: 'echo', pid: pids.get(id) };
            assert.deepStrictEqual(value, expected);
          }
          const { value: primary } = await ask('request', from, ['primary', 'echo', 1]);
          assert(![...pids.values()].includes(primary.pid) && primary.from === from);
          const { value: any } = await ask('request', from, ['any', 'echo']);
          assert([...pids.values()].includes(any.pid));
          const all = await ask('all', from, ['echo', 'x']);
          assert.deepStrictEqual(
            all.map(({ worker, status, value }) => [worker, status, value.pid]),
            workers.map(({ id, pid }) => [id, 'fulfilled', pid]),
          );
        }
        await ask('lead', two, 'cron');
        const { value: leader } = await ask('request', one, [{ leader: 'cron' }, 'echo']);
        assert.strictEqual(leader.pid, pids.get(two));
        assert.strictEqual(
          code(await ask('request', one, [{ leader: 'nobody' }, 'echo'])),
          'ERR_RCLUSTER_NO_LEADER',
        );
      }));
  }

  test('arrives in order with all messages of one process to another, whichever path it takes', () =>
    withCluster({}, async ({ ask, workers: [one, two] }) => {
      const COUNT = 1500;
      for (const { id } of [one, two]) await ask('open', id, 'all');
      await ask('handle', two.id, ['record', 'recorded']);
      const heard = await ask('number', one.id, [two.id, 'all', COUNT]);
      assert.deepStrictEqual(
        heard,
        Array.from({ length: COUNT }, (_, i) => i),
      );
    }));

  test('ends when the process that was called is killed, without any time limit', () =>
    withCluster({ COUNT: '3' }, async ({ fixture, ask, workers: [one, two, three] }) => {
      for (const { id } of [two, three]) await ask('handle', id, ['never', 'echo']);
      // One of the two calls another process for the first time.
      await ask('calls', one.id, [three.id, 'echo', 30]);
      await ask('begin', one.id, [two.id, 'never']);
      await fixture.marker(`called ${two.id}`);
      process.kill(two.pid, 'SIGKILL');
      const { error } = await fixture.marker(`ended ${one.id}`);
      assert.strictEqual(error.code, 'ERR_RCLUSTER_GONE');
      await fixture.marker(`exit ${two.id}`);
      assert.strictEqual(code(await ask('request', one.id, [two.id, 'never'])), 'ERR_RCLUSTER_GONE');
      assert.strictEqual(code(await ask('request', 0, [{ slot: 77 }, 'never'])), 'ERR_RCLUSTER_GONE');
      // A stopped process can neither answer nor close its socket before it is killed.
      await ask('begin', one.id, [three.id, 'never']);
      await fixture.marker(`called ${three.id}`);
      process.kill(three.pid, 'SIGSTOP');
      process.kill(three.pid, 'SIGKILL');
      assert.strictEqual((await fixture.marker(`ended ${one.id}`)).error.code, 'ERR_RCLUSTER_GONE');
    }));

  test('to all has one result for each worker, including workers that die or do not answer', () =>
    withCluster({ COUNT: '4' }, async ({ fixture, ask, workers }) => {
      const [one, two, three, four] = workers.map(({ id }) => id);
      await ask('handle', one, ['never']);
      await ask('handle', two, ['never']);
      fixture.tell('all', { id: four, of: ['never', null, { timeout: 60_000 }] });
      await fixture.marker(`called ${one}`);
      await fixture.marker(`called ${two}`);
      process.kill(workers[1].pid, 'SIGKILL');
      await fixture.marker(`exit ${two}`);
      process.kill(workers[0].pid, 'SIGKILL');
      const rejected = (worker, why) => ({ worker, status: 'rejected', code: `ERR_RCLUSTER_${why}` });
      assert.deepStrictEqual(await fixture.marker(`done ${four}`), [
        rejected(one, 'GONE'),
        rejected(two, 'GONE'),
        rejected(three, 'NO_HANDLER'),
        rejected(four, 'NO_HANDLER'),
      ]);
      await ask('handle', three, ['never']);
      await ask('handle', four, ['echo']);
      const all = await ask('all', 0, ['never', null, { timeout: 20 }]);
      assert.deepStrictEqual(all, [rejected(three, 'TIMEOUT'), rejected(four, 'NO_HANDLER')]);
    }));

  for (const count of [0, 30]) {
    test(`ends by its time limit and its signal, which end the call as well, after ${count} calls`, () =>
      withCluster({}, async ({ fixture, ask, workers: [one, two] }) => {
        await ask('handle', two.id, ['never', 'echo']);
        await ask('calls', one.id, [two.id, 'echo', count]);
        const timed = await ask('request', one.id, [two.id, 'never', null, { timeout: 20 }]);
        assert.strictEqual(timed.error.code, 'ERR_RCLUSTER_TIMEOUT');
        await fixture.marker(`aborted ${two.id}`);
        const { error } = await ask('abort', one.id, [two.id, 'never']);
        assert.strictEqual(error.name, 'AbortError');
        await fixture.marker(`aborted ${two.id}`);
        // The death of the caller aborts the signal as well.
        await ask('begin', one.id, [two.id, 'never']);
        process.kill(one.pid, 'SIGKILL');
        await fixture.marker(`aborted ${two.id}`);
      }));
  }

  for (const count of [0, 30]) {
    test(`reports why there is no result, after ${count} calls`, () =>
      withCluster({}, async ({ ask, workers: [one, two] }) => {
        await ask('handle', two.id, ['fail', 'large', 'uncloneable', 'echo']);
        await ask('calls', one.id, [two.id, 'echo', count]);
        const request = (name, data) => ask('request', one.id, [two.id, name, data]);
        assert.deepStrictEqual((await request('fail')).error, {
          name: 'TypeError',
          message: 'it fails',
          code: 'IT_FAILS',
        });
        assert.strictEqual(code(await request('nothing')), 'ERR_RCLUSTER_NO_HANDLER');
        assert.strictEqual(code(await request('large')), 'ERR_RCLUSTER_MESSAGE_TOO_LARGE');
        assert.strictEqual((await request('uncloneable')).error.name, 'DataCloneError');
        const { error } = await request('echo', 'x'.repeat(5 * 2 ** 20));
        assert.strictEqual(error.code, 'ERR_RCLUSTER_MESSAGE_TOO_LARGE');
        const { value } = await request('echo', 'x'.repeat(3 * 2 ** 20));
        assert.strictEqual(value.data.length, 3 * 2 ** 20);
      }));
  }

  test('is answered while the JavaScript of the primary is blocked', () =>
    withCluster({}, async ({ fixture, ask, workers: [one, two] }) => {
      await ask('handle', 0, ['block']);
      await ask('handle', two.id, ['echo']);
      // The primary continues once the answer has arrived, and only then notifies the test.
      fixture.tell('chain', { id: one.id, of: two.id });
      assert.deepStrictEqual(await fixture.marker(`done ${one.id}`), 'answered');
    }));

  for (const count of [0, 30]) {
    test(`cannot be answered by a worker that was not called, after ${count} calls`, () =>
      withCluster({ COUNT: '3' }, async ({ fixture, ask, workers: [one, two, three] }) => {
        await ask('handle', two.id, ['never', 'echo']);
        await ask('calls', one.id, [two.id, 'echo', count]);
        await ask('begin', one.id, [two.id, 'never']);
        await fixture.marker(`called ${two.id}`);
        assert.strictEqual(await ask('hostile', three.id), 'tried');
        assert.strictEqual((await ask('request', one.id, [two.id, 'echo', 1])).value.data, 1);
        process.kill(two.pid, 'SIGKILL');
        assert.strictEqual((await fixture.marker(`ended ${one.id}`)).error.code, 'ERR_RCLUSTER_GONE');
      }));
  }

  test('is answered by a draining worker, which gets no others', () =>
    withCluster({ WAY: 'supervise' }, async ({ fixture, ask, workers: [one, two] }) => {
      await ask('handle', one.id, ['onOrder', 'echo']);
      await ask('begin', two.id, [one.id, 'onOrder']);
      await fixture.marker(`called ${one.id}`);
      fixture.tell('retire', { id: one.id });
      await fixture.marker(`retires ${one.id}`);
      await until(
        'it gets no others',
        async () => code(await ask('request', two.id, [one.id, 'echo'])) === 'ERR_RCLUSTER_NO_HANDLER',
      );
      fixture.tell('order', { id: one.id });
      assert.strictEqual((await fixture.marker(`ended ${two.id}`)).value, 'ordered');
      assert.strictEqual((await fixture.marker(`exit ${one.id}`)).code, 0);
    }));

  test('ends with a draining worker that does not answer in time', () =>
    withCluster({ WAY: 'supervise', DRAIN_TIMEOUT: '300' }, async ({ fixture, ask, workers: [one, two] }) => {
      await ask('handle', one.id, ['never']);
      await ask('begin', two.id, [one.id, 'never']);
      await fixture.marker(`called ${one.id}`);
      fixture.tell('retire', { id: one.id });
      assert.strictEqual((await fixture.marker(`ended ${two.id}`)).error.code, 'ERR_RCLUSTER_GONE');
      assert.strictEqual((await fixture.marker(`exit ${one.id}`)).code, 143);
    }));
});

test('a notice reaches the handlers of its name, if there are any', { skip }, () =>
  withCluster({}, async ({ fixture, ask, workers: [one, two] }) => {
    for (const { id } of [one, two]) await ask('handle', id, ['note']);
    await ask('notify', one.id, ['all', 'nothing', 1]);
    await ask('notify', one.id, [two.id, 'note', 1]);
    assert.deepStrictEqual(await fixture.marker(`noted ${two.id}`), { data: 1, worker: one.id });
    await ask('notify', 0, ['all', 'note', [2]]);
    for (const { id } of [one, two]) {
      assert.deepStrictEqual(await fixture.marker(`noted ${id}`), { data: [2], worker: 0 });
    }
  }),
);
