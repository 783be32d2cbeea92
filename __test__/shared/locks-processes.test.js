'use strict';

// cluster.locks in several processes: the next holder when the holder dies or retires, and attempts to use
// locks of others.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no locks';

/** How often a holder is killed. */
const KILLS = 100;
/** The number of workers; all but one wait. */
const WAITING = 6;

/** @param {any} fixture */
const ask = (fixture) => (command, id, of) => {
  fixture.tell(command, { id, of });
  return fixture.marker(`done ${id}`);
};

/** The processes `count` of which have come online. */
async function online(fixture, count) {
  const workers = [];
  while (workers.length < count) workers.push(await fixture.marker('online'));
  return workers;
}

/** Waits until this many requests are pending. */
async function pending(fixture, id, count) {
  for (;;) {
    fixture.tell('query', { id, of: null });
    const all = await fixture.marker(`done ${id}`);
    if (all.pending.length === count) return all;
  }
}

const tellPrimary = (fixture) => (command, of) => {
  fixture.tell(command, { id: 0, of });
};

describe('locks', { skip }, () => {
  for (const WAY of ['fork', 'supervise']) {
    test(`are the same in the primary and in workers of ${WAY}()`, () =>
      withFixture('locks.js', { env: { WAY, COUNT: '2' } }, async (fixture) => {
        const command = ask(fixture);
        const ids = (await online(fixture, 2)).map(({ id }) => id);
        await command('hold', ids[0], ['name']);
        const first = await fixture.marker(`granted name ${ids[0]}`);
        await command('hold', ids[1], ['name']);
        tellPrimary(fixture)('hold', ['name']);
        await fixture.marker('done');
        tellPrimary(fixture)('query');
        const { held, pending: waiting } = await fixture.marker('done');
        assert.deepStrictEqual(held, [
          { name: 'name', mode: 'exclusive', clientId: `${ids[0]}`, token: first.token },
        ]);
        assert.deepStrictEqual(new Set(waiting.map(({ clientId }) => clientId)), new Set([`${ids[1]}`, '0']));
        await command('release', ids[0], 'name');
        assert.strictEqual(await fixture.marker(`ended name ${ids[0]}`), 'released');
        const order = waiting.map(({ clientId }) => Number(clientId));
        let { token } = first;
        for (const id of order) {
          const label = id === 0 ? '' : ` ${id}`;
          const lock = await fixture.marker(`granted name${label}`);
          assert(lock.token > token);
          ({ token } = lock);
          fixture.tell('release', { id, of: 'name' });
          assert.strictEqual(await fixture.marker(`ended name${label}`), 'released');
        }
      }));
  }

  test(`go to the next in turn when the holder is killed, ${KILLS} times`, (context) =>
    withFixture('locks.js', { env: { COUNT: `${WAITING}` }, deadline: 300_000 }, async (fixture) => {
      const times = [];
      let token = 0;
      const order = [];
      const join = async () => {
        const { id } = await fixture.marker('online');
        fixture.tell('hold', { id, of: ['seat'] });
        await fixture.marker(`done ${id}`);
        order.push(id);
      };
      for (let i = 0; i < WAITING; i++) await join();
      for (let round = 0; round <= KILLS; round++) {
        const id = order.shift();
        const lock = await fixture.marker(`granted seat ${id}`);
        if (round > 0) times.push(lock.at - order.killed);
        assert(lock.token > token, 'tokens rise');
        ({ token } = lock);
        // A start would compete with the takeover for the CPUs.
        if (round > 0 && round <= KILLS - WAITING + 1) {
          fixture.tell('fork', {});
          await join();
        }
        if (round < KILLS) {
          order.killed = Number(process.hrtime.bigint() / 1000n);
          process.kill(lock.pid, 'SIGKILL');
        }
      }
      times.sort((a, b) => a - b);
      const [median, max] = [times[times.length >> 1], times.at(-1)];
      context.diagnostic(`next holder after SIGKILL: p50 ${median} µs, max ${max} µs of ${times.length}`);
    }));

  test('work while the JavaScript of the primary is blocked', () =>
    withFixture('locks.js', { env: { COUNT: '2' } }, async (fixture) => {
      const command = ask(fixture);
      const [first, second] = await online(fixture, 2);
      await command('hold', first.id, ['seat']);
      await fixture.marker(`granted seat ${first.id}`);
      await command('holdAndSet', second.id, ['seat', 'taken']);
      await pending(fixture, second.id, 1);
      fixture.tell('block', { id: 0, of: 'taken' });
      await fixture.marker('blocks');
      process.kill(first.pid, 'SIGKILL');
      // A write of the next holder releases the primary.
      await fixture.marker('done');
    }));

  for (const ends of [true, false]) {
    const what = ends ? 'until their callbacks have ended' : 'at most for the time that the drain may take';
    test(`are held by a draining worker ${what}`, () => {
      const env = { WAY: 'supervise', COUNT: '2', DRAIN_TIMEOUT: ends ? '60000' : '300' };
      return withFixture('locks.js', { env }, async (fixture) => {
        const command = ask(fixture);
        const [first, second] = await online(fixture, 2);
        await command('hold', first.id, ['seat']);
        await fixture.marker(`granted seat ${first.id}`);
        await command('hold', first.id, ['other']);
        await fixture.marker(`granted other ${first.id}`);
        for (const name of ['seat', 'other']) await command('hold', second.id, [name]);
        await pending(fixture, second.id, 2);
        fixture.tell('retire', { id: first.id });
        await fixture.marker(`retires ${first.id}`);
        if (!ends) assert.strictEqual((await fixture.marker('drain-timeout')).resources.Lock, 2);
        if (ends) {
          await command('release', first.id, 'other');
          await fixture.marker(`granted other ${second.id}`);
          const { held } = await pending(fixture, second.id, 1);
          const holder = held.find(({ name }) => name === 'seat').clientId;
          assert.strictEqual(holder, `${first.id}`);
          fixture.tell('release', { id: first.id, of: 'seat' });
          assert.strictEqual(await fixture.marker(`ended seat ${first.id}`), 'released');
        }
        await fixture.marker(`granted seat ${second.id}`);
        const { code } = await fixture.marker(`exit ${first.id}`);
        assert.strictEqual(code, ends ? 0 : 143);
      });
    });
  }

  test('are kept by a worker that leaves by disconnect(), until their callbacks have ended', () => {
    const program = path.join(__dirname, '..', 'fixtures', 'locks-leaving.js');
    const { status, stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
    const lines = stdout.trim().split('\n');
    assert.deepStrictEqual([status, stderr, lines[0]], [0, '', 'while they run: null false']);
    assert.deepStrictEqual(lines.slice(1).sort(), ['exit 0 null', 'granted', 'leads', 'worker: kept']);
  });

  test('are not reported to a worker that has left', () => {
    const program = path.join(__dirname, '..', 'fixtures', 'locks-left.js');
    const { status, stdout, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8' });
    assert.deepStrictEqual([status, stdout, stderr], [0, 'ERR_RCLUSTER_GONE\n', '']);
  });

  test('are not released by a worker that names locks of others', () =>
    withFixture('locks.js', { env: { COUNT: '3' } }, async (fixture) => {
      const command = ask(fixture);
      const [first, second, hostile] = await online(fixture, 3);
      await command('hold', first.id, ['seat']);
      const { token } = await fixture.marker(`granted seat ${first.id}`);
      await command('hold', second.id, ['seat']);
      await pending(fixture, second.id, 1);
      assert.strictEqual(await command('hostile', hostile.id), 'tried');
      const { held } = await pending(fixture, second.id, 1);
      assert.deepStrictEqual(held, [{ name: 'seat', mode: 'exclusive', clientId: `${first.id}`, token }]);
      await command('release', first.id, 'seat');
      await fixture.marker(`granted seat ${second.id}`);
    }));
});
