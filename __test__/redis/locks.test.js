'use strict';

// Locks and leaders with the scope 'all': one holder on all machines with the same server.

const assert = require('node:assert');
const { after, afterEach, before, describe, test } = require('node:test');
const { startMembers } = require('../helpers/members.js');
const { until } = require('../../testing/processes.js');
const { startLink } = require('../../testing/redis/link.js');
const {
  startRedis,
  startRedisCluster,
  startSentinel,
  withoutRedis,
  withoutTls,
} = require('../../testing/redis.js');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in has no locks' : withoutRedis;

/** @type {import('../../testing/redis.js').RedisServer} */
let server;
/** @type {import('../helpers/members.js').Member[]} */
let members = [];

before(async () => {
  if (!skip) server = await startRedis();
});

after(async () => {
  if (!skip) await server.close();
});

afterEach(async () => {
  await Promise.all(members.splice(0).map((member) => member.stop()));
});

/**
 * Machines, each with a backend.
 * @param {...string} urls
 */
async function machines(...urls) {
  members = await startMembers(urls.length);
  await Promise.all(
    members.map((member, place) =>
      member.run(({ cluster, kept }, backend) => {
        cluster.setupPrimary({ backend });
        // Requests a lock, which is held until release() is called. Resolves when it is held, or when the request has failed.
        kept.acquire = (name, options) =>
          new Promise((resolve) => {
            kept.held = cluster.locks.request(name, { scope: 'all', ...options }, (lock) => {
              if (lock === null) return resolve(null);
              kept.lock = lock;
              kept.grantedAt = process.hrtime.bigint();
              kept.lost = new Promise((lost) =>
                lock.signal.addEventListener('abort', () => lost(String(process.hrtime.bigint()))),
              );
              resolve(lock.token);
              return new Promise((release) => (kept.release = release));
            });
            kept.outcome = kept.held.then(
              () => 'released',
              (error) => error.code,
            );
            kept.outcome.then(resolve);
          });
      }, urls[place]),
    ),
  );
  return members;
}

/** @param {any} member @param {string} name @param {object} [options] */
const acquire = (member, name, options) =>
  member.run(({ kept }, name, options) => kept.acquire(name, options), name, options);

/** @param {any} member */
const release = (member) =>
  member.run(({ kept }) => {
    kept.release();
    return kept.outcome;
  });

describe('a lock', { skip }, () => {
  test('is held by one machine, goes to the other at release, and its token increases', async () => {
    const [one, other] = await machines(server.url, server.url);
    const tokens = [await acquire(one, 'turns')];
    for (const [holder, next] of [
      [one, other],
      [other, one],
      [one, other],
    ]) {
      assert.strictEqual(await acquire(next, 'turns', { ifAvailable: true }), null);
      const waiting = acquire(next, 'turns');
      assert.strictEqual(await release(holder), 'released');
      tokens.push(await waiting);
    }
    const sorted = tokens.toSorted((a, b) => a - b);
    assert.deepStrictEqual(tokens, sorted);
    assert.strictEqual(new Set(tokens).size, 4);
  });

  test('of a machine that is killed goes to the other', async () => {
    const [one, other] = await machines(server.url, server.url);
    const first = await acquire(one, 'killed', { ttl: 500 });
    const waiting = acquire(other, 'killed', { ttl: 500 });
    await one.stop();
    assert.ok((await waiting) > first);
  });

  test('does not wait for a time that was written before the clock of the server was set back', async () => {
    const [one] = await machines(server.url);
    await acquire(one, 'back', { ttl: 200 });
    await release(one);
    // What a machine that has failed left, and the server, an hour ahead of what is the time now.
    const future = Date.now() + 3_600_000;
    const left = ['owner', 'gone', 'until', future, 'turn', 'other', 'turn_until', future];
    await server.command('HSET', 'rcluster:{leases}:lock:back', ...left);
    await server.command('HSET', 'rcluster:{leases}:server', 'changed', future);
    assert.strictEqual(await acquire(one, 'back', { ttl: 200, ifAvailable: true }), null);
    assert.ok((await acquire(one, 'back', { ttl: 200 })) > 0);
    assert.strictEqual(await release(one), 'released');
  });

  test('is renewed while the JavaScript of the machine is blocked', async () => {
    const [one, other] = await machines(server.url, server.url);
    await acquire(one, 'blocked', { ttl: 2000 });
    await one.run(({ kept }) => {
      const end = performance.now() + 5000;
      while (performance.now() < end);
      if (kept.lock.signal.aborted) throw kept.lock.signal.reason;
    });
    assert.strictEqual(await acquire(other, 'blocked', { ttl: 2000, ifAvailable: true }), null);
    assert.strictEqual(await release(one), 'released');
  });

  test('that is stolen is lost on the other machine', async () => {
    const [one, other] = await machines(server.url, server.url);
    const first = await acquire(one, 'stolen');
    assert.ok((await acquire(other, 'stolen', { steal: true })) > first);
    assert.strictEqual(await one.run(({ kept }) => kept.outcome), 'ERR_RCLUSTER_LOCK_LOST');
    assert.strictEqual(await one.run(({ kept }) => kept.lock.signal.reason.code), 'ERR_RCLUSTER_LOCK_LOST');
    assert.strictEqual(await release(other), 'released');
  });

  test('is listed on its machine', async () => {
    const [one, other] = await machines(server.url, server.url);
    const token = await acquire(one, 'listed');
    const waiting = acquire(other, 'listed');
    const query = ({ cluster }) => cluster.locks.query();
    const item = { name: 'listed', mode: 'exclusive', clientId: '0', scope: 'all' };
    assert.deepStrictEqual(await one.run(query), { held: [{ ...item, token }], pending: [] });
    assert.deepStrictEqual(await other.run(query), { held: [], pending: [item] });
    await release(one);
    const next = await waiting;
    assert.deepStrictEqual(await other.run(query), { held: [{ ...item, token: next }], pending: [] });
  });

  test('is separate from the lock of the same name on one machine', async () => {
    const [one] = await machines(server.url);
    await acquire(one, 'same');
    const both = await one.run(({ cluster }) => cluster.locks.request('same', () => 'held'));
    assert.strictEqual(both, 'held');
  });

  test('is not granted to a request that was aborted', async () => {
    const [one, other] = await machines(server.url, server.url);
    await acquire(one, 'aborted');
    const reason = await other.run(async ({ cluster }) => {
      const abort = new AbortController();
      const request = cluster.locks.request('aborted', { scope: 'all', signal: abort.signal }, () => 'held');
      await cluster.locks.query();
      abort.abort(new Error('no longer'));
      return request.catch((error) => error.message);
    });
    assert.strictEqual(reason, 'no longer');
    assert.strictEqual(await release(one), 'released');
    // The server may have announced the other one's turn before it received that it no longer waits: then the
    // turn passes.
    assert.ok((await acquire(one, 'aborted')) > 0);
  });

  test('is reported as lost when the server is gone, before another machine has it', async () => {
    const link = await startLink(server);
    try {
      const [one, other] = await machines(link.url, server.url);
      // It ends a tenth earlier for its holder, whose process may have to wait for a CPU.
      const ttl = 5000;
      const first = await acquire(one, 'cut', { ttl });
      // Both report the time: this process may read their messages in any order.
      const waiting = other.run(
        async ({ kept }, ttl) => [await kept.acquire('cut', { ttl }), String(kept.grantedAt)],
        ttl,
      );
      const lost = one.run(async ({ kept }) => {
        const lostAt = await kept.lost;
        return [await kept.outcome, lostAt];
      });
      link.freeze();
      const [code, lostAt] = await lost;
      assert.strictEqual(code, 'ERR_RCLUSTER_LOCK_LOST');
      const [token, grantedAt] = await waiting;
      assert.ok(token > first);
      assert.ok(BigInt(lostAt) < BigInt(grantedAt));
      // After the link is healed, it waits as any other.
      link.heal();
      const again = acquire(one, 'cut', { ttl });
      assert.strictEqual(await release(other), 'released');
      assert.ok((await again) > first);
    } finally {
      await link.close();
    }
  });
});

describe('the backend of supervise()', { skip }, () => {
  /** Supervises a worker with each of these in turn, until one is accepted. @param {any} there @param {any[]} backends */
  async function attempt({ cluster, kept }, backends) {
    cluster.setupPrimary({
      exec: require('node:path').join(process.cwd(), '__test__/fixtures/redis/member.js'),
    });
    return backends.map((backend) => {
      try {
        kept.supervisor = cluster.supervise({
          workers: 1,
          signals: false,
          control: 'off',
          ...(backend !== null && { backend }),
        });
        return 'set';
      } catch (error) {
        return error.code;
      }
    });
  }

  test('is the same setting as that of setupPrimary()', async () => {
    const [member] = (members = await startMembers(1));
    const codes = await member.run(attempt, [7, 'http://a', server.url]);
    assert.deepStrictEqual(codes, ['ERR_INVALID_ARG_TYPE', 'ERR_INVALID_ARG_VALUE', 'set']);
    const [token, later] = await member.run(async ({ cluster, kept }) => {
      const held = await cluster.locks.request('supervised', { scope: 'all' }, (lock) => lock.token);
      let code;
      try {
        cluster.setupPrimary({ backend: 'redis://127.0.0.1:1' });
      } catch (error) {
        code = error.code;
      }
      await kept.supervisor.shutdown({ timeout: 0 });
      return [held, code];
    });
    assert.ok(token > 0, `${token}`);
    assert.strictEqual(later, 'ERR_RCLUSTER_TOO_LATE');
  });

  test('may also be the default in its settings, and is refused where another one was set before', async () => {
    const [member] = (members = await startMembers(1));
    await member.run(
      ({ cluster }, backend) => void cluster.setupPrimary({ supervise: { backend } }),
      server.url,
    );
    assert.deepStrictEqual(await member.run(attempt, [undefined]), ['set']);
    await member.run(({ cluster }) => cluster.locks.request('default', { scope: 'all' }, () => {}));
    const [other] = (members = [...members, ...(await startMembers(1))]).slice(1);
    await other.run(({ cluster }, backend) => void cluster.setupPrimary({ backend }), server.url);
    const codes = await other.run(attempt, ['redis://127.0.0.1:1', server.url]);
    assert.deepStrictEqual(codes, ['ERR_RCLUSTER_TOO_LATE', 'set']);
  });
});

describe('a server', { skip }, () => {
  test('that has lost everything grants no lease to others while the old one is valid', async () => {
    const own = await startRedis();
    try {
      const [one, other] = await machines(own.url, own.url);
      // Long enough for a server that restarts on a busy machine.
      const ttl = 6000;
      const first = await acquire(one, 'forgotten', { ttl });
      await own.kill();
      await own.restart();
      const waiting = acquire(other, 'forgotten', { ttl });
      // The owner keeps it: it is renewed on the new connection.
      const outcome = await Promise.race([waiting, one.run(({ kept }) => kept.outcome), renewed(own)]);
      assert.strictEqual(outcome, 'renewed');
      assert.strictEqual(await one.run(({ kept }) => kept.lock.signal.aborted), false);
      assert.strictEqual(await release(one), 'released');
      assert.ok((await waiting) > first, 'tokens rise');
    } finally {
      await own.close();
    }
  });

  test('whose memory is full grants, renews and releases', async () => {
    const own = await startRedis({ maxmemory: 8 << 20 });
    try {
      await own.fill();
      const [one, other] = await machines(own.url, own.url);
      const first = await acquire(one, 'full');
      const waiting = acquire(other, 'full');
      assert.strictEqual(await release(one), 'released');
      assert.ok((await waiting) > first);
    } finally {
      await own.close();
    }
  });

  test('that cannot be reached is reported to requests that do not wait', async () => {
    const own = await startRedis();
    const { url } = own;
    await own.kill();
    try {
      const [one] = await machines(url);
      for (const options of [{ ifAvailable: true }, { steal: true }]) {
        assert.strictEqual(await acquire(one, 'away', options), 'ERR_RCLUSTER_DISCONNECTED');
      }
      // A waiting request is granted when the server is reachable.
      const waiting = acquire(one, 'away', { ttl: 100 });
      await own.restart();
      assert.ok((await waiting) > 0);
    } finally {
      await own.close();
    }
  });

  test('that is replaced by its replica continues with the leases', async () => {
    const group = await startSentinel();
    try {
      const [one, other] = await machines(group.url, group.url);
      const ttl = 15_000;
      await acquire(one, 'forgotten', { ttl });
      const now = await group.failover();
      await renewed(now);
      assert.strictEqual(await one.run(({ kept }) => kept.lock.signal.aborted), false);
      assert.strictEqual(await acquire(other, 'forgotten', { ttl, ifAvailable: true }), null);
      assert.strictEqual(await release(one), 'released');
    } finally {
      await group.close();
    }
  });

  for (const wasReplica of [false, true]) {
    const what = wasReplica
      ? 'was a replica, and may not have received the last lease'
      : 'has run for a while';
    test(`that ${what} ${wasReplica ? 'waits for the end of an old lease' : 'grants its first lease at once'}`, async () => {
      const own = await startRedis();
      const ttl = 2000;
      try {
        // The machine starts before, since a lease soon ends.
        const [one] = await machines(own.url);
        await until('it has run as long as a lease', async () => {
          const [, uptime] = /uptime_in_seconds:(\d+)/.exec(await own.info('INFO', 'server'));
          return Number(uptime) * 1000 >= ttl;
        });
        if (wasReplica) {
          // A replica of a server that does not exist.
          await own.command('REPLICAOF', '127.0.0.1', 1);
          await own.promote();
        }
        const token = await acquire(one, 'first', { ttl, ifAvailable: true });
        assert.strictEqual(token === null, wasReplica);
      } finally {
        await own.close();
      }
    });
  }

  test('can be a Redis Cluster', async () => {
    const group = await startRedisCluster();
    try {
      const [one, other] = await machines(group.url, group.url);
      const first = await acquire(one, 'one', { ttl: 2000 });
      const waiting = acquire(other, 'one', { ttl: 2000 });
      assert.strictEqual(await release(one), 'released');
      assert.ok((await waiting) > first);
    } finally {
      await group.close();
    }
  });

  test('can have TLS and a password', { skip: withoutTls }, async () => {
    const own = await startRedis({ tls: true, requirepass: 'geheim' });
    try {
      const [member] = (members = await startMembers(1));
      const token = await member.run(
        ({ cluster }, url, ca) => {
          const tls = { ca: process.getBuiltinModule('node:fs').readFileSync(ca) };
          cluster.setupPrimary({ backend: { url, tls } });
          return cluster.locks.request('safe', { scope: 'all' }, (lock) => lock.token);
        },
        own.url,
        /** @type {any} */ (own.certificates).ca,
      );
      assert.ok(token > 0);
    } finally {
      await own.close();
    }
  });
});

/**
 * Resolves when the owner has registered its lease with the server again.
 * @param {import('../../testing/redis.js').RedisServer} own
 */
async function renewed(own) {
  const [, run] = /run_id:(\w+)/.exec(await own.info('INFO', 'server'));
  await until('the lease is known to this server', async () => {
    const owner = await own.command('HGET', 'rcluster:{leases}:lock:forgotten', 'owner');
    const known = await own.command('HGET', 'rcluster:{leases}:server', 'run');
    return known === run && owner !== null && owner !== '';
  });
  return 'renewed';
}

describe('invalid requests', { skip: isBuiltin }, () => {
  const cluster = isBuiltin ? undefined : require(OURS);
  const fail = () => assert.fail('it is not held');

  test('the scope without a backend', async () => {
    await assert.rejects(cluster.locks.request('none', { scope: 'all' }, fail), {
      code: 'ERR_RCLUSTER_NO_BACKEND',
    });
    const leader = cluster.lead('none', { scope: 'all' }, fail);
    await assert.rejects(leader.done, { code: 'ERR_RCLUSTER_NO_BACKEND' });
  });

  test('invalid options', async () => {
    for (const [options, code] of /** @type {[any, string][]} */ ([
      [{ scope: 'cluster' }, 'ERR_INVALID_ARG_VALUE'],
      [{ ttl: 1000 }, 'ERR_INVALID_ARG_VALUE'],
      [{ scope: 'all', ttl: '1s' }, 'ERR_INVALID_ARG_TYPE'],
      [{ scope: 'all', ttl: 99 }, 'ERR_OUT_OF_RANGE'],
      [{ scope: 'all', ttl: 3_600_001 }, 'ERR_OUT_OF_RANGE'],
      [{ scope: 'all', ttl: NaN }, 'ERR_OUT_OF_RANGE'],
      [{ scope: 'all', mode: 'shared' }, 'ERR_INVALID_ARG_VALUE'],
    ])) {
      await assert.rejects(
        cluster.locks.request('options', options, fail),
        { code },
        JSON.stringify(options),
      );
      if (options.mode === undefined) assert.throws(() => cluster.lead('options', options, fail), { code });
    }
  });

  test('another backend than before', async () => {
    const [member] = (members = await startMembers(1));
    const codes = await member.run(({ cluster }) => {
      const set = (/** @type {any} */ backend) => {
        try {
          cluster.setupPrimary({ backend });
          return 'set';
        } catch (error) {
          return error.code;
        }
      };
      return ['redis://127.0.0.1:1', 'redis://127.0.0.1:1', 'redis://127.0.0.1:2', 'http://a', 7].map(set);
    });
    assert.deepStrictEqual(codes, [
      'set',
      'set',
      'ERR_RCLUSTER_TOO_LATE',
      'ERR_INVALID_ARG_VALUE',
      'ERR_INVALID_ARG_TYPE',
    ]);
  });
});
