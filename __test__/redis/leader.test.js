'use strict';

// cluster.lead() with the scope 'all': two clusters with one server have one leader, whichever process is killed.

const assert = require('node:assert');
const { fork } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { startRedis, withoutRedis } = require('../../testing/redis.js');
const { until, within } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'nobody leads with the built-in' : withoutRedis;

const PROGRAM = path.join(__dirname, '..', 'fixtures', 'redis', 'leader.js');

/** How often the leader is killed. `RCLUSTER_LEADER_KILLS=100` sets more. */
const KILLS = Number(process.env.RCLUSTER_LEADER_KILLS ?? 20);

/** ms. */
const TTL = 500;

class Clusters {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-leader-'));
  file = path.join(this.directory, 'record');

  /** @type {Set<import('node:child_process').ChildProcess>} */
  running = new Set();

  /**
   * @param {string} url
   * @param {number} [ttl]
   */
  constructor(url, ttl = TTL) {
    this.url = url;
    this.ttl = ttl;
    fs.writeFileSync(this.file, '');
  }

  /** @param {number} workers none: the primary itself may lead */
  start(workers) {
    const env = { ...process.env };
    delete env.NODE_TEST_CONTEXT;
    const child = fork(PROGRAM, [this.url, `${this.ttl}`, this.file, `${workers}`], { env });
    this.running.add(child);
    child.once('exit', () => this.running.delete(child));
    return child;
  }

  records() {
    const lines = fs.readFileSync(this.file, 'utf8').split('\n').slice(0, -1);
    return lines.map((line) => {
      const [what, token, pid, time] = line.split(' ');
      return { what, token: Number(token), pid: Number(pid), time: BigInt(time) };
    });
  }

  /**
   * The first leader whose token is greater.
   * @param {number} token
   */
  next(token) {
    return until(`somebody leads after ${token}`, () =>
      this.records().find((it) => it.what === 'begin' && it.token > token),
    );
  }

  /**
   * Waits until the leader with this token has been notified that it is no longer the leader.
   * @param {number} token
   */
  aborted(token) {
    return until(`${token} is aborted`, () =>
      this.records().find((it) => it.what === 'abort' && it.token === token),
    );
  }

  /** The last leader that has begun. */
  leader() {
    const begun = this.records().filter((it) => it.what === 'begin');
    return begun.sort((a, b) => a.token - b.token)[begun.length - 1];
  }

  async close() {
    const ended = [...this.running].map((child) => once(child, 'exit'));
    for (const child of this.running) child.kill('SIGKILL');
    await Promise.all(ended);
    fs.rmSync(this.directory, { recursive: true });
  }
}

/**
 * Each leader has a greater token than all before it, and none begins before the previous one has done its last
 * work as the leader, or was killed.
 * @param {ReturnType<Clusters['records']>} records
 * @param {Map<number, bigint>} killed when a process was killed
 */
function check(records, killed) {
  const begun = records.filter((it) => it.what === 'begin').sort((a, b) => Number(a.time - b.time));
  begun.slice(1).forEach((next, place) => {
    const leader = begun[place];
    assert.ok(next.token > leader.token, `the token ${next.token} is greater than ${leader.token}`);
    const ended = records.find((it) => it.what === 'abort' && it.token === leader.token)?.time;
    const end = ended ?? killed.get(leader.pid);
    assert.ok(
      end !== undefined && end < next.time,
      `${leader.pid} leads until ${end}, ${next.pid} begins ${next.time}`,
    );
  });
}

test(`of two clusters one leads, while the leader is killed ${KILLS} times`, { skip }, async () => {
  const server = await startRedis({ appendonly: true });
  const clusters = new Clusters(server.url);
  /** @type {Map<number, bigint>} */
  const killed = new Map();
  try {
    clusters.start(0);
    clusters.start(0);
    let token = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const leader = await clusters.next(token);
      token = leader.token;
      // From time to time, the server is also unreachable.
      if (kill % 10 === 3) {
        await server.kill();
        await server.restart();
      } else if (kill % 10 === 7) {
        server.pause();
        // Until the leader is notified that it is no longer the leader.
        await clusters.aborted(token);
        server.resume();
        token = (await clusters.next(token)).token;
      }
      const child = [...clusters.running].find((it) => it.pid === clusters.leader().pid);
      assert.ok(child, 'it is one of them');
      const ended = once(child, 'exit');
      killed.set(/** @type {number} */ (child.pid), process.hrtime.bigint());
      child.kill('SIGKILL');
      await ended;
      clusters.start(0);
    }
    await clusters.next(token);
    check(clusters.records(), killed);
  } finally {
    await clusters.close();
    await server.close();
  }
});

test('the worker of another cluster leads when that of the first is killed', { skip }, async () => {
  const server = await startRedis();
  const clusters = new Clusters(server.url, 5000);
  const killed = new Map();
  try {
    clusters.start(2);
    clusters.start(2);
    let last = 0;
    // Within a cluster, the kernel reports the death, and the lease is released at once.
    for (let kill = 0; kill < 3; kill++) {
      const leader = await clusters.next(last);
      last = leader.token;
      killed.set(leader.pid, process.hrtime.bigint());
      process.kill(leader.pid, 'SIGKILL');
    }
    await clusters.next(last);
    check(clusters.records(), killed);
  } finally {
    await clusters.close();
    await server.close();
  }
});

test('a leader stays the leader while its JavaScript is blocked', { skip }, async () => {
  const server = await startRedis();
  const clusters = new Clusters(server.url, 2000);
  try {
    const first = clusters.start(0);
    const leader = await clusters.next(0);
    clusters.start(0);
    first.send('block');
    await within('it is no longer blocked', once(first, 'message'));
    const records = clusters.records();
    assert.deepStrictEqual(
      records.map(({ what, token }) => [what, token]),
      [['begin', leader.token]],
    );
  } finally {
    await clusters.close();
    await server.close();
  }
});

test('a leader knows the end of its lease while its primary is stopped', { skip }, async () => {
  const server = await startRedis();
  const clusters = new Clusters(server.url, 2000);
  try {
    const first = clusters.start(1);
    const leader = await clusters.next(0);
    assert.notStrictEqual(leader.pid, first.pid);
    clusters.start(0);
    // Longer than the first lease is valid: it was renewed.
    const renewed = leader.time + 3_000_000_000n;
    await until('the lease was renewed', () => process.hrtime.bigint() > renewed);
    first.kill('SIGSTOP');
    await clusters.aborted(leader.token);
    const other = await clusters.next(leader.token);
    check(clusters.records(), new Map());
    // It is a candidate again.
    first.kill('SIGCONT');
    process.kill(other.pid, 'SIGKILL');
    const again = await clusters.next(other.token);
    assert.strictEqual(again.pid, leader.pid);
  } finally {
    await clusters.close();
    await server.close();
  }
});
