'use strict';

// store.tally(): counters that each process adds to on its own page: nothing is lost when processes die, and
// any process can read the sum.

const assert = require('node:assert');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const cluster = isBuiltin ? undefined : require(OURS);

test('adding is synchronous, and each name has its own sum', { skip }, () => {
  const store = cluster.shared('tally');
  const [requests, bytes] = [store.tally('requests'), store.tally('bytes')];
  assert.strictEqual(store.tally('requests'), requests);
  assert.strictEqual(requests.name, 'requests');
  requests.add();
  requests.add(2);
  bytes.add(0.5);
  bytes.add(-2);
  assert.deepStrictEqual([requests.value, requests.own, bytes.value, bytes.own], [3, 3, -1.5, -1.5]);
  assert.strictEqual(cluster.shared('another').tally('requests').value, 0);
  assert.strictEqual(store.size, 0, 'they are no keys');
});

test('invalid numbers and names are refused, and the number of tallies is limited', { skip }, () => {
  const store = cluster.shared('tally limits');
  const tally = store.tally('0');
  for (const [by, code] of [
    ['1', 'ERR_INVALID_ARG_TYPE'],
    [null, 'ERR_INVALID_ARG_TYPE'],
    [NaN, 'ERR_INVALID_ARG_VALUE'],
    [Infinity, 'ERR_INVALID_ARG_VALUE'],
  ]) {
    assert.throws(() => tally.add(by), { code }, `${by}`);
  }
  assert.strictEqual(tally.value, 0);
  assert.throws(() => store.tally(), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.throws(() => store.tally('x'.repeat(257)), { code: 'ERR_INVALID_ARG_VALUE' });
  for (let i = 0; i < 256; i++) store.tally(`${i}`).add(i);
  assert.throws(() => store.tally('one more'), { code: 'ERR_RCLUSTER_TALLY_LIMIT' });
  assert.strictEqual(store.tally('255').value, 255);
});

describe('a tally', { skip }, () => {
  for (const WAY of ['fork', 'supervise']) {
    test(`is read exactly by all processes of ${WAY}(), even if the processes that counted are dead`, () =>
      withFixture('shared.js', { env: { WAY, COUNT: '3' }, deadline: 120_000 }, async (fixture) => {
        const command = (name, id, of) => {
          fixture.tell(name, { id, of });
          return fixture.marker(`done ${id}`);
        };
        const workers = [];
        while (workers.length < 3) workers.push(await fixture.marker('online'));
        let total = 0;
        for (let round = 0; round < 3; round++) {
          const ids = [0, ...workers.map(({ id }) => id)];
          await Promise.all(ids.map((id) => command('tally', id, ['count', 1000])));
          total += 1000 * ids.length;
          for (const id of ids) assert.strictEqual(await command('sum', id, 'count'), total, `${id}`);
          const { id, pid } = workers.shift();
          process.kill(pid, 'SIGKILL');
          await fixture.marker(`exit ${id}`);
          // The remaining processes read the amount of the dead one.
          for (const other of [0, ...workers.map((worker) => worker.id)]) {
            assert.strictEqual(await command('sum', other, 'count'), total);
          }
          if (WAY === 'fork') fixture.tell('fork', {});
          workers.push(await fixture.marker('online'));
        }
      }));
  }
});
