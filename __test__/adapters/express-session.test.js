'use strict';

// rcluster/express-session: sessions that all workers share, with the real express-session.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const http = require('node:http');
const path = require('node:path');
const { once } = require('node:events');
const { describe, test } = require('node:test');
const { promisify } = require('node:util');
const { get } = require('../../testing/clients.js');
const { isBuiltin, OURS } = require('../../testing/subject.js');
const { withProgram } = require('../helpers/programs.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const APP = path.join(__dirname, '..', 'fixtures', 'adapters', 'express-session');

/** A client that keeps its cookie. */
class Client {
  cookie = '';

  constructor(target) {
    this.target = target;
  }

  options(url) {
    const headers = this.cookie === '' ? {} : { cookie: this.cookie };
    return { ...this.target, path: url, headers };
  }

  async ask(url) {
    const { status, headers, body } = await get(this.options(url));
    assert.strictEqual(status, 200, body);
    if (headers['set-cookie'] !== undefined) [this.cookie] = headers['set-cookie'][0].split(';');
    return body === '' ? undefined : JSON.parse(body);
  }

  /** Starts a request, and waits until its handler has loaded the session. */
  async begin(url) {
    const request = http.get({ agent: false, ...this.options(url) });
    const [response] = await once(request, 'response');
    const [first] = await once(response.setEncoding('utf8'), 'data');
    assert.strictEqual(first, 'begun\n');
    const ended = once(response, 'end');
    response.resume();
    return { pid: Number(response.headers['x-pid']), ended };
  }
}

describe('sessions of express-session', { skip }, () => {
  test('are the same in all workers, for many clients at once', () =>
    withProgram(APP, async (target, pids) => {
      const clients = Array.from({ length: 16 }, () => new Client(target));
      const seen = new Set();
      await Promise.all(
        clients.map(async (client) => {
          for (let count = 1; count <= 12; count++) {
            const answer = await client.ask('/count');
            assert.strictEqual(answer.count, count);
            seen.add(answer.pid);
          }
        }),
      );
      assert.deepStrictEqual([...seen].toSorted(), pids.toSorted());
    }));

  for (const RESAVE of ['0', '1']) {
    for (const query of ['', '&change=1', '&save=1', '&change=1&save=1']) {
      test(`that are destroyed are not restored by a pending request (resave ${RESAVE}, ${query})`, () =>
        withEnv({ RESAVE }, () =>
          withProgram(APP, async (target, pids) => {
            const pairs = new Set();
            // The other request may be in the same worker or in another one.
            for (let round = 0; round < 6; round++) {
              const client = new Client(target);
              await client.ask('/count');
              const { pid, ended } = await client.begin(`/slow?until=${round}${query}`);
              const { cookie } = client;
              const { pid: other } = await client.ask('/logout');
              pairs.add(pid === other);
              await client.ask(`/happens?what=${round}`);
              await ended;
              client.cookie = cookie;
              for (let count = 0; count < pids.length; count++) {
                assert.deepStrictEqual((await client.ask('/session')).count, null);
                client.cookie = cookie;
              }
            }
            assert(pairs.has(false), 'they were in different workers');
          }),
        ));
    }
  }

  test('keep a new lifetime of their cookie', () =>
    withProgram(APP, async (target) => {
      const client = new Client(target);
      await client.ask('/count');
      await client.ask('/remember');
      const { count, maxAge } = await client.ask('/session');
      assert.strictEqual(count, 1);
      assert(maxAge > 5_000_000, `${maxAge}`);
    }));

  test('that are changed by a pending request are saved, and new ones have another id', () =>
    withProgram(APP, async (target) => {
      const client = new Client(target);
      await client.ask('/count');
      const { ended } = await client.begin('/slow?until=changed&change=1');
      await client.ask('/happens?what=changed');
      await ended;
      assert.strictEqual((await client.ask('/session')).seen, true);
      const { cookie } = client;
      assert.strictEqual((await client.ask('/regenerate')).count, 1);
      assert.notStrictEqual(client.cookie, cookie);
      assert.strictEqual((await client.ask('/count')).count, 2);
      client.cookie = cookie;
      assert.strictEqual((await client.ask('/session')).count, null);
    }));
});

/** @param {Record<string, string>} env @param {() => Promise<void>} body */
async function withEnv(env, body) {
  Object.assign(process.env, env);
  try {
    await body();
  } finally {
    for (const name of Object.keys(env)) delete process.env[name];
  }
}

describe('the store of express-session', { skip }, () => {
  const session = isBuiltin ? undefined : require('express-session');
  const cluster = isBuiltin ? undefined : require(OURS);
  let count = 0;

  function open(options) {
    const { SessionStore } = require('rcluster/express-session');
    const shared = cluster.shared(`sessions ${(count += 1)}`, { size: '1MB' });
    const store = new SessionStore({ store: shared, ...options });
    const methods = ['get', 'set', 'touch', 'destroy', 'all', 'length', 'clear'];
    const asked = Object.fromEntries(
      methods.map((name) => [name, promisify((...args) => store[name](...args))]),
    );
    return { shared, store, ...asked };
  }

  const data = (maxAge, more) => ({ cookie: new session.Cookie({ maxAge }), ...more });
  /** The remaining lifetime of a key, in ms. */
  const rest = (shared, key) => shared.entry(key).expiresAt - Date.now();

  test('gets a value that was set, and undefined otherwise', async () => {
    const { get: read, set, destroy, all, length, clear, shared } = open({ prefix: 's:' });
    await shared.set('other', 1);
    assert.strictEqual(await read('a'), null);
    const given = data(60_000, { user: 'ä', deep: { list: [1, null] } });
    await set('a', given);
    await set('b', data(60_000, { user: 2 }));
    const { user, deep, cookie } = await read('a');
    assert.deepStrictEqual({ user, deep }, { user: 'ä', deep: { list: [1, null] } });
    // The package reads the clock, which may have advanced by a millisecond.
    assert.strictEqual(cookie.originalMaxAge, given.cookie.originalMaxAge);
    assert.deepStrictEqual(Object.keys(await all()).toSorted(), ['a', 'b']);
    assert.strictEqual((await all()).b.user, 2);
    assert.strictEqual(await length(), 2);
    await destroy('a');
    await destroy('a');
    assert.strictEqual(await read('a'), null);
    assert.strictEqual(await length(), 1);
    await clear();
    assert.strictEqual(await length(), 0);
    assert.strictEqual(shared.get('other'), 1);
  });

  test('lets them expire with their cookies, and touches them', async () => {
    const { get: read, set, touch, shared } = open({ ttl: 5_000 });
    await set('long', data(600_000));
    await set('short', data(60_000));
    await set('none', data(undefined));
    assert(rest(shared, 'long') > 500_000);
    assert(rest(shared, 'short') <= 60_000);
    assert(rest(shared, 'none') <= 5_000);
    await touch('short', data(600_000));
    assert(rest(shared, 'short') > 500_000);
    const { expires } = (await read('short')).cookie;
    assert(new Date(expires).getTime() - Date.now() > 500_000, 'the cookie says the same');
    await touch('gone', data(600_000));
    assert.strictEqual(shared.has('gone'), false);
    await set('short', data(-1));
    assert.strictEqual(await read('short'), null);
    await touch('long', data(-1));
    assert.strictEqual(await read('long'), null);
    const { set: setForEver, shared: other } = open({ ttl: Infinity });
    await setForEver('none', data(undefined));
    assert.strictEqual(other.entry('none').expiresAt, undefined);
  });

  test('touches the whole cookie, and nothing else', async () => {
    const { get: read, set, touch, shared } = open({ ttl: 5_000 });
    const cookieOf = async (sid) => JSON.parse(JSON.stringify((await read(sid)).cookie));
    for (const [from, to] of [
      [undefined, 60_000],
      [60_000, 600_000],
      [60_000, undefined],
    ]) {
      await set('sid', data(from, { user: 'saved' }));
      const touched = data(to, { user: 'read before' });
      touched.cookie.sameSite = 'lax';
      await touch('sid', touched);
      const { expires, ...cookie } = await cookieOf('sid');
      const { expires: expected, ...others } = JSON.parse(JSON.stringify(touched.cookie));
      assert.deepStrictEqual(cookie, others);
      assert.strictEqual(Boolean(expires), Boolean(expected));
      assert.strictEqual((await read('sid')).user, 'saved');
      assert(rest(shared, 'sid') <= (to ?? 5_000));
      assert(rest(shared, 'sid') > (to ?? 5_000) / 2);
    }
  });

  test('loses nothing that is saved while it touches', async () => {
    const { get: read, set, touch, destroy } = open();
    await set('sid', data(60_000, { user: 0 }));
    const writes = [];
    for (let user = 1; user <= 200; user++) {
      writes.push(touch('sid', data(60_000 + user * 1000, { user: 'old' })));
      writes.push(set('sid', data(60_000, { user })));
    }
    await Promise.all(writes);
    assert.strictEqual((await read('sid')).user, 200);
    // One that is destroyed does not come back.
    const touched = touch('sid', data(1_000_000));
    await Promise.all([touched, destroy('sid')]);
    assert.strictEqual(await read('sid'), null);
  });

  test('saves a new session once, and then only while it exists', async () => {
    const { store, set, touch, destroy, shared } = open();
    session({ store, secret: 'secret', resave: false, saveUninitialized: false, cookie: { maxAge: 60_000 } });
    const request = {};
    store.generate(request);
    const { sessionID: sid, session: made } = request;
    await set(sid, made);
    made.changed = true;
    await set(sid, made);
    assert.strictEqual(JSON.parse(shared.get(sid)).changed, true);
    await destroy(sid);
    await set(sid, made);
    await touch(sid, made);
    assert.strictEqual(shared.has(sid), false);
    // A session that no request has loaded may be set at any time.
    await set(sid, data(60_000, { user: 1 }));
    const loaded = await promisify((done) => store.load(sid, done))();
    assert.strictEqual(loaded.user, 1);
    await Promise.all([...Array(20).keys()].map((user) => set(sid, Object.assign(loaded, { user }))));
    assert.strictEqual(JSON.parse(shared.get(sid)).user, 19);
  });

  test('reports errors, and rethrows exceptions of callbacks', async () => {
    const { set, store, shared } = open();
    const tooLong = data(60_000, { text: 'x'.repeat(2 ** 20) });
    await assert.rejects(set('a', tooLong), { code: 'ERR_RCLUSTER_TOO_LARGE' });
    await assert.rejects(store.set('a', tooLong), { code: 'ERR_RCLUSTER_TOO_LARGE' });
    await store.set('b', data(60_000));
    assert(shared.has('b'), 'without a callback there is a promise');
    const code = `
      const { SessionStore } = require('rcluster/express-session');
      process.on('uncaughtException', ({ message }, origin) => console.log(message, origin));
      new SessionStore().get('b', () => {
        throw new Error('thrown');
      });`;
    const { stdout } = spawnSync(process.execPath, ['-e', code], { cwd: OURS, encoding: 'utf8' });
    assert.strictEqual(stdout, 'thrown uncaughtException\n');
  });

  test('refuses unknown options', () => {
    const { SessionStore } = require('rcluster/express-session');
    assert.throws(() => new SessionStore({ prefxi: 'a' }), /Did you mean "prefix"\?/);
    assert.throws(() => new SessionStore({ store: new Map() }), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => new SessionStore({ ttl: 0 }), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => new SessionStore({ ttl: '1' }), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => new SessionStore({ prefix: 1 }), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => new SessionStore(null), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});
