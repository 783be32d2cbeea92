'use strict';

// cluster.locks in one process: the semantics of Web Locks, limits, and what is refused.

const assert = require('node:assert');
const { AsyncResource } = require('node:async_hooks');
const { spawnSync } = require('node:child_process');
const { test } = require('node:test');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no locks';
const { locks } = isBuiltin ? {} : require(OURS);

/** A lock that is held until `release` is called. */
async function hold(name, options = {}) {
  let release;
  let onGranted;
  const granted = new Promise((resolve) => (onGranted = resolve));
  const ended = locks.request(name, options, (lock) => {
    onGranted(lock);
    return new Promise((resolve) => (release = resolve));
  });
  ended.catch(() => {});
  const lock = await granted;
  return { lock, ended, release: (value) => release(value) };
}

test('a lock is held while the callback runs, and its result is returned', { skip }, async () => {
  const result = await locks.request('result', async (lock) => {
    assert.deepStrictEqual({ ...lock, token: 0 }, { name: 'result', mode: 'exclusive', token: 0 });
    const { held, pending } = await locks.query();
    assert.deepStrictEqual(held, [{ name: 'result', mode: 'exclusive', clientId: '0', token: lock.token }]);
    assert.deepStrictEqual(pending, []);
    return 5;
  });
  assert.strictEqual(result, 5);
  assert.deepStrictEqual(await locks.query(), { held: [], pending: [] });
  const error = new Error('of the callback');
  await assert.rejects(
    locks.request('result', () => Promise.reject(error)),
    error,
  );
  await assert.rejects(
    locks.request('result', () => {
      throw error;
    }),
    error,
  );
  assert.strictEqual(await locks.request('result', {}, ({ mode }) => mode), 'exclusive', 'it was released');
});

test('requests are granted in order, shared ones together, and tokens increase', { skip }, async () => {
  const order = [];
  const enter = (mode, label) =>
    locks.request('order', { mode }, async ({ token }) => {
      order.push(`+${label}`);
      await locks.query();
      order.push(`-${label}`);
      return token;
    });
  const tokens = await Promise.all([
    enter('exclusive', 'a'),
    enter('shared', 'b'),
    enter('shared', 'c'),
    enter('exclusive', 'd'),
    enter('shared', 'e'),
  ]);
  assert.deepStrictEqual(order, ['+a', '-a', '+b', '+c', '-b', '-c', '+d', '-d', '+e', '-e']);
  assert.deepStrictEqual(
    tokens,
    tokens.toSorted((a, b) => a - b),
  );
  assert.strictEqual(new Set(tokens).size, 5);
  assert(tokens.every(Number.isSafeInteger));
});

test('ifAvailable gives null without waiting', { skip }, async () => {
  const { release, ended } = await hold('available', { mode: 'shared' });
  assert.strictEqual(await locks.request('available', { ifAvailable: true }, (lock) => lock), null);
  const shared = { ifAvailable: true, mode: 'shared' };
  assert.strictEqual(await locks.request('available', shared, ({ mode }) => mode), 'shared');
  release('value');
  assert.strictEqual(await ended, 'value');
  assert.notStrictEqual(await locks.request('available', { ifAvailable: true }, (lock) => lock), null);
});

test("steal rejects the holder's request, and overtakes the queue", { skip }, async () => {
  const { lock, ended, release } = await hold('stolen');
  const waits = locks.request('stolen', () => 'waited');
  const thief = await hold('stolen', { steal: true });
  assert(thief.lock.token > lock.token);
  await assert.rejects(ended, (error) => {
    assert(error instanceof DOMException);
    assert.deepStrictEqual([error.name, error.code], ['AbortError', 'ERR_RCLUSTER_LOCK_STOLEN']);
    return true;
  });
  // The lock is already lost.
  release();
  const { held, pending } = await locks.query();
  assert.deepStrictEqual(
    held.map(({ token }) => token),
    [thief.lock.token],
  );
  assert.strictEqual(pending.length, 1);
  thief.release();
  assert.strictEqual(await waits, 'waited');
});

test('a signal ends the wait only', { skip }, async () => {
  const { release } = await hold('signal');
  const controller = new AbortController();
  const waits = locks.request('signal', { signal: controller.signal }, () => assert.fail('it is aborted'));
  const behind = locks.request('signal', () => 'behind');
  assert.strictEqual((await locks.query()).pending.length, 2);
  const reason = new Error('enough');
  controller.abort(reason);
  await assert.rejects(waits, reason);
  await assert.rejects(
    locks.request('signal', { signal: controller.signal }, () => {}),
    reason,
  );
  const { signal } = new AbortController();
  release();
  assert.strictEqual(await behind, 'behind');
  const late = new AbortController();
  const result = await locks.request('signal', { signal: late.signal }, async () => {
    late.abort();
    await locks.query();
    return 'held';
  });
  assert.strictEqual(result, 'held', 'a lock that is held is not given up');
  assert.strictEqual(await locks.request('signal', { signal }, () => 'unused'), 'unused');
});

test(
  'a request for the same lock in its callback is refused, because it would wait for itself',
  { skip },
  async () => {
    const deadlock = { code: 'ERR_RCLUSTER_LOCK_DEADLOCK', message: /"own"/ };
    await locks.request('own', async () => {
      await assert.rejects(
        locks.request('own', () => {}),
        deadlock,
      );
      await locks.request('other', async () => {
        await new Promise(setImmediate);
        await assert.rejects(
          locks.request('own', { mode: 'shared' }, () => {}),
          deadlock,
        );
      });
      assert.strictEqual(await locks.request('own', { ifAvailable: true }, (lock) => lock), null);
    });
    const shared = { mode: 'shared' };
    const nested = await locks.request('own', shared, () => locks.request('own', shared, () => 'nested'));
    assert.strictEqual(nested, 'nested');
    // Another part of the program, outside of the callback.
    const elsewhere = AsyncResource.bind(() => hold('own'));
    await locks.request('own', shared, async () => {
      const waits = elsewhere();
      while ((await locks.query()).pending.length === 0);
      // It would wait for the exclusive request, which waits for this callback.
      await assert.rejects(
        locks.request('own', shared, () => {}),
        deadlock,
      );
      void waits.then(({ release }) => release());
    });
    // Code started by the callback may request the lock again once it has been released.
    let later;
    await locks.request('own', () => {
      later = new Promise(setImmediate).then(() => locks.request('own', () => 'later'));
    });
    assert.strictEqual(await later, 'later');
  },
);

test('invalid arguments are refused', { skip }, async () => {
  const type = { code: 'ERR_INVALID_ARG_TYPE' };
  const value = { code: 'ERR_INVALID_ARG_VALUE' };
  const notSupported = { name: 'NotSupportedError', code: 'ERR_INVALID_ARG_VALUE' };
  const { signal } = new AbortController();
  const never = () => assert.fail('it is not called');
  for (const [name, options, error] of [
    [5, {}, type],
    ['\ud800', {}, value],
    ['é'.repeat(513), {}, value],
    ['a', null, type],
    ['a', { mode: 'write' }, value],
    ['a', { mod: 'shared' }, value],
    ['a', { steal: 1 }, type],
    ['a', { signal: {} }, type],
    ['a', { steal: true, ifAvailable: true }, notSupported],
    ['a', { steal: true, mode: 'shared' }, notSupported],
    ['a', { steal: true, signal }, notSupported],
    ['a', { ifAvailable: true, signal }, notSupported],
    ['-a', {}, notSupported],
  ]) {
    await assert.rejects(locks.request(name, options, never), error, `${name} ${JSON.stringify(options)}`);
  }
  await assert.rejects(locks.request('a'), type);
  await assert.rejects(locks.request('a', {}), type);
  assert.strictEqual(await locks.request('é'.repeat(512), () => 'long'), 'long');
  assert.deepStrictEqual(await locks.query(), { held: [], pending: [] });
});

test('the number of requests of a process is limited', { skip }, async () => {
  const { release, ended } = await hold('limit');
  const many = Array.from({ length: 9999 }, (_, i) => locks.request('limit', { mode: 'shared' }, () => i));
  await assert.rejects(
    locks.request('limit', () => {}),
    { code: 'ERR_RCLUSTER_LOCK_LIMIT' },
  );
  const { pending } = await locks.query();
  assert.strictEqual(pending.length, 9999);
  release();
  await ended;
  assert.deepStrictEqual(await Promise.all(many), [...many.keys()]);
});

/** @param {string} program */
function run(program) {
  const whole = `const cluster = require(${JSON.stringify(OURS)}); ${program}`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', whole], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.deepStrictEqual([stderr, status], ['', 0]);
  return stdout;
}

test('nothing is loaded and no thread is started before the first request', { skip }, () => {
  const output = run(`
    const fs = require('node:fs');
    const look = () => [
      fs.readdirSync('/proc/self/task').filter((id) =>
        fs.readFileSync('/proc/self/task/' + id + '/comm', 'utf8').startsWith('rcluster-store')).length,
      Object.keys(require.cache).filter((file) => file.includes('/lib/locks/')).length > 0,
    ];
    const { locks, lead } = cluster;
    const before = look();
    locks.request('first', () => console.log(JSON.stringify([before, look()])));`);
  assert.deepStrictEqual(JSON.parse(output), [
    [0, false],
    [1, true],
  ]);
});

test('a pending request keeps the process alive, and a held lock does not', { skip }, () => {
  const output = run(`
    cluster.locks.request('held', () => new Promise(() => {}));
    cluster.locks.request('asked', () => console.log('granted'));
    process.on('exit', () => console.log('exit'));`);
  assert.strictEqual(output, 'granted\nexit\n');
});
