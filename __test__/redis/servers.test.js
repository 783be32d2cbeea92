'use strict';

// The servers that the tests of this folder use: they behave as the tests require.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { describe, test } = require('node:test');
const tls = require('node:tls');
const { startLink } = require('../../testing/redis/link.js');
const {
  startRedis,
  startRedisCluster,
  startSentinel,
  withoutRedis,
  withoutTls,
} = require('../../testing/redis.js');
const { isAlive, isStopped, until, within } = require('../../testing/processes.js');

const REDIS = path.join(__dirname, '../../testing/redis.js');

/**
 * Sends a command on a connection of its own.
 * @param {net.Socket} socket
 * @param {string} command
 */
async function ask(socket, command) {
  socket.write(`${command}\r\n`);
  const [answer] = await within(`an answer to ${command}`, once(socket, 'data'));
  return String(answer).trim();
}

describe('a server', { skip: withoutRedis }, () => {
  test('keeps acknowledged writes when it is killed, on the same address', async (t) => {
    const server = await startRedis({ appendonly: true });
    t.after(() => server.close());
    const { url, pid } = server;
    await server.command('SET', 'key', 'value');
    await server.kill();
    assert(!isAlive(/** @type {number} */ (pid)));
    await server.restart();
    assert.strictEqual(server.url, url);
    assert.strictEqual(await server.command('GET', 'key'), 'value');
    await server.stop();
    await server.restart();
    assert.strictEqual(await server.command('GET', 'key'), 'value');
  });

  test('loses everything without a file', async (t) => {
    const server = await startRedis();
    t.after(() => server.close());
    await server.command('SET', 'key', 'value');
    await server.kill();
    await server.restart();
    assert.strictEqual(await server.command('GET', 'key'), null);
  });

  test('answers nothing while it is paused, and everything afterwards', async (t) => {
    const server = await startRedis();
    t.after(() => server.close());
    const socket = net.connect(server.port, server.host);
    t.after(() => socket.destroy());
    assert.strictEqual(await ask(socket, 'PING'), '+PONG');
    server.pause();
    await until('it is stopped', () => isStopped(/** @type {number} */ (server.pid)));
    const answer = ask(socket, 'PING');
    let answered = false;
    void answer.then(() => (answered = true));
    // Another connection is accepted by the kernel.
    const other = net.connect(server.port, server.host);
    await within('a connection', once(other, 'connect'));
    other.destroy();
    assert(!answered);
    server.resume();
    assert.strictEqual(await answer, '+PONG');
  });

  test('can be filled, and continues to answer', async (t) => {
    const server = await startRedis({ maxmemory: 8 << 20 });
    t.after(() => server.close());
    await server.command('SET', 'key', 'value');
    await server.fill();
    await assert.rejects(server.command('SET', 'other', 'value'), /OOM/);
    assert.strictEqual(await server.command('GET', 'key'), 'value');
    await server.unfill();
    assert.strictEqual(await server.command('SET', 'other', 'value'), 'OK');
  });

  test('has a password, and TLS', { skip: withoutTls }, async (t) => {
    const server = await startRedis({ requirepass: 'geheim', tls: true });
    t.after(() => server.close());
    assert.match(server.url, /^rediss:\/\/:geheim@127\.0\.0\.1:\d+$/);
    const ca = fs.readFileSync(/** @type {any} */ (server.certificates).ca);
    const socket = tls.connect({ host: server.host, port: server.port, ca });
    t.after(() => socket.destroy());
    await within('a connection', once(socket, 'secureConnect'));
    assert.match(await ask(socket, 'PING'), /^-NOAUTH/);
    assert.strictEqual(await ask(socket, 'AUTH geheim'), '+OK');
    const plain = tls.connect({ host: server.host, port: server.port });
    await assert.rejects(once(plain, 'secureConnect'), /self-signed|unable to verify/);
  });

  test('has a replica, which can be promoted', async (t) => {
    const server = await startRedis();
    t.after(() => server.close());
    const replica = await startRedis({ replicaOf: server });
    t.after(() => replica.close());
    await replica.synced();
    await server.command('SET', 'key', 'value');
    await server.replicatedTo(replica);
    await assert.rejects(replica.command('SET', 'key', 'other'), /READONLY/);
    await server.kill();
    await replica.promote();
    assert.strictEqual(await replica.command('GET', 'key'), 'value');
    assert.strictEqual(await replica.command('SET', 'key', 'other'), 'OK');
  });

  test('ends with the process that started it, even if that is killed and the server is stopped', async () => {
    const script = `
      const { startRedis } = require(${JSON.stringify(REDIS)});
      startRedis().then((server) => {
        server.pause();
        process.stdout.write(server.pid + ' ' + server.directory + '\\n');
        if (process.argv[1] === 'exit') process.exit();
      });`;
    for (const how of ['exit', 'wait']) {
      const child = spawn(process.execPath, ['-e', script, how], { stdio: ['ignore', 'pipe', 'inherit'] });
      const ended = once(child, 'exit');
      const [line] = await within('a server is paused', once(child.stdout, 'data'));
      const [pid, directory] = String(line).trim().split(' ');
      if (how === 'wait') child.kill('SIGKILL');
      await ended;
      await until('the server has ended', () => !isAlive(Number(pid)));
      if (how === 'exit') assert(!fs.existsSync(directory));
      else fs.rmSync(directory, { recursive: true });
    }
  });
});

describe('a link to a server', { skip: withoutRedis }, () => {
  test('can be frozen and cut, and healed', async (t) => {
    const server = await startRedis();
    t.after(() => server.close());
    const link = await startLink(server);
    t.after(() => link.close());
    assert.strictEqual(new URL(link.url).port, String(link.port));
    const socket = net.connect(link.port, link.host);
    assert.strictEqual(await ask(socket, 'PING'), '+PONG');
    link.freeze();
    const answer = ask(socket, 'SET key value');
    assert.strictEqual(await server.command('GET', 'key'), null);
    link.heal();
    assert.strictEqual(await answer, '+OK');
    const reset = once(socket, 'error');
    link.cut();
    assert.strictEqual(/** @type {any} */ ((await within('a reset', reset))[0]).code, 'ECONNRESET');
    const refused = net.connect(link.port, link.host);
    await once(refused, 'close').catch(() => {});
    assert(refused.destroyed);
    link.heal();
    const again = net.connect(link.port, link.host);
    t.after(() => again.destroy());
    assert.strictEqual(await ask(again, 'GET key'), '$5\r\nvalue');
  });
});

test('sentinels make the replica the server when that is killed', { skip: withoutRedis }, async (t) => {
  const group = await startSentinel();
  t.after(() => group.close());
  const before = await group.primary();
  await before.command('SET', 'key', 'value');
  await before.replicatedTo(group.servers.find((server) => server !== before));
  const now = await group.failover();
  assert.notStrictEqual(now, before);
  assert.strictEqual(await now.command('GET', 'key'), 'value');
  assert.match(group.url, /^redis\+sentinel:\/\/(127\.0\.0\.1:\d+,?){3}\/main$/);
});

test('a Redis Cluster has three nodes, which each have some keys', { skip: withoutRedis }, async (t) => {
  const group = await startRedisCluster();
  t.after(() => group.close());
  const owners = new Set();
  for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) {
    const owner = await group.nodeOf(key);
    owners.add(owner);
    assert.strictEqual(await owner.command('SET', key, key), 'OK');
  }
  assert.strictEqual(owners.size, 3);
  const [one, two] = owners;
  await assert.rejects(async () => {
    for (const key of ['a', 'b', 'c', 'd', 'e', 'f']) await (one ?? two).command('GET', key);
  }, /MOVED/);
});
