'use strict';

// cluster.lead(): one process leads, and another one takes over when it stops, dies, retires or fails.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const { describe, test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'nobody leads with the built-in';
const cluster = isBuiltin ? undefined : require(OURS);

/** @param {any} fixture @param {string} how */
const candidates = async (fixture, how, count = 3) => {
  const workers = [];
  for (let i = 0; i < count; i++) {
    const worker = await fixture.marker('online');
    workers.push(worker);
    fixture.tell('lead', { id: worker.id, of: ['cron', how] });
    await fixture.marker(`done ${worker.id}`);
  }
  return workers;
};

/** The number of such marks that no test has consumed yet. */
const count = (fixture, name) => fixture.marks.filter(({ mark }) => mark.startsWith(name)).length;

describe('in one process', { skip }, () => {
  test('the function runs, and its signal is aborted by stop()', async () => {
    let resolveStarted;
    const running = new Promise((resolve) => (resolveStarted = resolve));
    const leader = cluster.lead('one', async ({ signal, token }) => {
      resolveStarted({ signal, token });
      await once(signal, 'abort');
    });
    assert.deepStrictEqual([leader.name, leader.leading, leader.token], ['one', false, undefined]);
    const { signal, token } = await running;
    assert.deepStrictEqual([leader.leading, leader.token, signal.aborted], [true, token, false]);
    await leader.stop();
    assert.deepStrictEqual([leader.leading, leader.token, signal.aborted], [false, undefined, true]);
    await leader.done;
    await leader.stop();
  });

  test('a function can stop itself, and the next one leads when it has ended', async () => {
    const order = [];
    const first = cluster.lead('itself', async ({ signal }) => {
      await cluster.locks.query();
      await first.stop();
      order.push(`stopped ${signal.aborted}`);
      // Nested, and by way of a leader that has another name.
      const other = cluster.lead('another', () => first.stop().then(() => order.push('nested')));
      await cluster.locks.query();
      await other.stop();
      order.push('ended');
    });
    const second = cluster.lead('itself', () => void order.push('second'));
    await first.done;
    await cluster.locks.query();
    assert.deepStrictEqual(order, ['stopped true', 'nested', 'ended', 'second']);
    await second.stop();
  });

  test('what a function has begun waits for its end once the function has returned', async () => {
    const order = [];
    let stop;
    const leader = cluster.lead('begun', ({ signal }) => {
      signal.addEventListener('abort', () => order.push('aborted'));
      stop = cluster.locks.query().then(() => leader.stop());
    });
    void leader.done.then(() => order.push('done'));
    await cluster.locks.query();
    await stop;
    assert.deepStrictEqual(order, ['aborted', 'done']);
  });

  test('a leader whose function has returned still leads, and a candidate can be stopped', async () => {
    const order = [];
    const first = cluster.lead('two', () => void order.push('first'));
    const second = cluster.lead('two', () => void order.push('second'));
    const third = cluster.lead('two', () => void order.push('third'));
    await cluster.locks.query();
    assert.deepStrictEqual(order, ['first']);
    assert(first.leading);
    await second.stop();
    await second.done;
    await first[Symbol.asyncDispose]();
    await cluster.locks.query();
    assert.deepStrictEqual(order, ['first', 'third']);
    await third.stop();
  });

  test('a leader that throws is no longer the leader, and the error is reported', async () => {
    const error = new Error('no leader');
    const first = cluster.lead('three', () => {
      throw error;
    });
    const next = new Promise((resolve) => {
      const second = cluster.lead('three', () => resolve(second));
    });
    await assert.rejects(first.done, error);
    await (await next).stop();
    // Being stopped is not a failure.
    const stopped = cluster.lead('three', async ({ signal }) => {
      await once(signal, 'abort');
      signal.throwIfAborted();
    });
    await cluster.locks.query();
    assert(stopped.leading);
    await stopped.stop();
    await stopped.done;
  });

  test('an error that nobody handles is an unhandled rejection', () => {
    const program = `
      const cluster = require(${JSON.stringify(OURS)});
      process.on('unhandledRejection', ({ message }) => console.log('unhandled', message));
      cluster.lead('ignored', () => { throw new Error('ignored'); });
      const stopped = cluster.lead('stopped', ({ signal }) => new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        void stopped.stop();
      }));
      const handled = cluster.lead('handled', () => { throw new Error('handled'); });
      handled.done.catch(({ message }) => console.log(message));
    `;
    const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
    assert.deepStrictEqual([status, stderr], [0, '']);
    assert.deepStrictEqual(stdout.trim().split('\n').sort(), ['handled', 'unhandled ignored']);
  });

  test('invalid arguments are refused', () => {
    assert.throws(() => cluster.lead(5, () => {}), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => cluster.lead('a'), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => cluster.lead('a'.repeat(1025), () => {}), { code: 'ERR_INVALID_ARG_VALUE' });
  });
});

describe('among workers', { skip }, () => {
  for (const WAY of ['fork', 'supervise']) {
    test(`of ${WAY}() one leads, and the next when it is killed`, () =>
      withFixture('locks.js', { env: { WAY, COUNT: '3' } }, async (fixture) => {
        const workers = await candidates(fixture, 'waits');
        let last = 0;
        for (const { id, pid } of workers) {
          const { token } = await fixture.marker(`leads cron ${id}`);
          assert(token > last, 'tokens rise');
          last = token;
          assert.strictEqual(count(fixture, 'leads cron'), 0, 'only one leads');
          process.kill(pid, 'SIGKILL');
        }
      }));
  }

  test('a leader that retires stops its function, and then another process leads', () =>
    withFixture('locks.js', { env: { WAY: 'supervise', COUNT: '2' } }, async (fixture) => {
      const [first, second] = await candidates(fixture, 'waits', 2);
      await fixture.marker(`leads cron ${first.id}`);
      fixture.tell('retire', { id: first.id });
      await fixture.marker(`aborted cron ${first.id}`);
      await fixture.marker(`leads cron ${second.id}`);
      assert.strictEqual((await fixture.marker(`exit ${first.id}`)).code, 0);
    }));

  test('a leader that retires after its function has returned lets another process lead', () =>
    withFixture('locks.js', { env: { WAY: 'supervise', COUNT: '2' } }, async (fixture) => {
      const [first, second] = await candidates(fixture, 'return', 2);
      await fixture.marker(`leads cron ${first.id}`);
      fixture.tell('retire', { id: first.id });
      await fixture.marker(`leads cron ${second.id}`);
    }));

  test('each leader that throws is reported once', () =>
    withFixture('locks.js', { env: { COUNT: '3' } }, async (fixture) => {
      const workers = await candidates(fixture, 'throw');
      for (const { id } of workers) {
        await fixture.marker(`leads cron ${id}`);
        assert.strictEqual(await fixture.marker(`over cron ${id}`), 'NO_LEADER');
      }
      assert.strictEqual(count(fixture, 'leads cron'), 0);
    }));
});
