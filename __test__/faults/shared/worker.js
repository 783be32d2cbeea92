'use strict';

// A worker that uses all features of shared state in a random order, until it is killed or ordered to stop.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const cluster = require('../../../index.js');
const { createRandom } = require('../../../testing/random.js');
const { NOTE } = require('./account.js');

/** The errors of a request whose target is dead or has not started. */
const UNANSWERED = ['ERR_RCLUSTER_GONE', 'ERR_RCLUSTER_NO_HANDLER', 'ERR_RCLUSTER_NO_LEADER'];
/** The number of keys that are created once. */
const ONCE = 5;

function deferred() {
  /** @type {(value?: unknown) => void} */
  let resolve = () => {};
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}

function run() {
  const id = cluster.worker?.id ?? 0;
  const folder = /** @type {string} */ (process.env.KILLS_FOLDER);
  const notes = fs.openSync(path.join(folder, `${id}`), 'a');
  const note = (/** @type {string} */ letter) => fs.writeSync(notes, letter);
  /** @type {string[]} */
  const wrong = [];
  const fail = (/** @type {any} */ error) => {
    const text = error?.stack ?? `${error}`;
    wrong.push(text);
    fs.appendFileSync(path.join(folder, `${id}.wrong`), `worker ${id}: ${text}\n`);
  };
  process.on('unhandledRejection', fail);
  const random = createRandom(Number(process.env.KILLS_SEED));
  const pick = (/** @type {number} */ count) => Math.floor(random() * count);
  const store = cluster.shared('kills', { size: '16MB' });
  const stopping = new AbortController();
  const { signal } = stopping;
  const ending = new AbortController();
  /** The primary has made the last change, and this worker has received it. */
  const hasLast = deferred();
  const state = { watched: new Map(), written: 0, deleted: 0, posted: 0 };

  /** @type {(() => Promise<unknown>)[]} */
  const actions = [
    async function increment() {
      note(NOTE.SENT);
      await store.increment('count');
      note(NOTE.ACKNOWLEDGED);
    },
    async function tally() {
      note(NOTE.ADDING);
      store.tally('tally').add(1);
      note(NOTE.ADDED);
    },
    async function set() {
      state.written += 1;
      const value = state.written;
      await store.set(`own:${id}`, value);
      // No other process writes this key: its value is newer by now, or was deleted since.
      const found = store.get(`own:${id}`);
      assert(found === undefined ? value <= state.deleted : found >= value, `${value} was set: ${found}`);
      if (random() >= 0.02) return;
      state.deleted = state.written;
      await store.delete(`own:${id}`);
    },
    async function locked() {
      const name = `lock ${pick(3)}`;
      const mine = await cluster.locks.request(name, { signal }, async ({ token }) => {
        const before = store.get(`guard:${name}`);
        assert(before === undefined || before < token, `${name}: token ${token} after ${before}`);
        await store.set(`guard:${name}`, token);
        for (let i = 0; i < pick(4); i++) {
          await store.increment(`work:${name}`);
          assert.strictEqual(store.get(`guard:${name}`), token, `${name} is held by one`);
        }
        return token;
      });
      assert(mine > 0);
    },
    async function shared() {
      await cluster.locks.request('lock 0', { mode: 'shared', signal }, () => {});
    },
    async function once() {
      const key = `once:${pick(ONCE)}`;
      const made = await store.getOrCreate(key, async () => `made by ${await Promise.resolve(id)}`);
      assert.match(made, /^made by \d+$/);
      if (random() < 0.1) await store.delete(key);
    },
    async function request() {
      const target = [pick(id + 3) + 1, 'any', { leader: 'cron' }][pick(3)];
      const data = random();
      try {
        const answer = await cluster.request(target, 'echo', data);
        assert.strictEqual(answer, data);
      } catch (error) {
        const { code } = /** @type {NodeJS.ErrnoException} */ (error);
        if (!UNANSWERED.includes(/** @type {string} */ (code))) throw error;
      }
    },
    async function all() {
      for (const { status, reason } of await cluster.request('all', 'echo', id)) {
        assert(status === 'fulfilled' || UNANSWERED.includes(/** @type {any} */ (reason).code), `${reason}`);
      }
    },
    async function post() {
      state.posted += 1;
      channel.postMessage({ from: id, number: state.posted });
    },
  ];

  cluster.handle('echo', (data) => data);
  const channel = new cluster.BroadcastChannel('kills');
  channel.unref();
  /** @type {Map<number, number>} */
  const heard = new Map();
  channel.addEventListener('message', ({ data: { from, number } }) => {
    const last = heard.get(from);
    if (last !== undefined && number !== last + 1) fail(`${from} was heard: ${number} after ${last}`);
    heard.set(from, number);
  });
  channel.addEventListener('lag', () => heard.clear());

  const leader = cluster.lead('cron', async ({ signal: ended, token }) => {
    const before = store.get('guard:cron');
    if (!(before === undefined || before < token)) fail(`leader ${token} after ${before}`);
    await store.set('guard:cron', token);
    if (!ended.aborted && store.get('guard:cron') !== token) fail('there are two leaders');
  });
  leader.done.catch(fail);

  const watching = newest();
  const counting = history();

  /** The newest state of some keys, which equals the content of the store when nothing changes any more. */
  async function newest() {
    const revisions = new Map();
    for await (const { type, key, value, revision } of store.watch({
      prefix: 'own:',
      signal: ending.signal,
    })) {
      if (type === 'resync') state.watched.clear();
      if (key === undefined) continue;
      if (revision < revisions.get(key)) fail(`${key} goes back from ${revisions.get(key)} to ${revision}`);
      revisions.set(key, revision);
      if (type === 'set') state.watched.set(key, value);
      else state.watched.delete(key);
      if (key === 'own:primary') hasLast.resolve();
    }
  }

  /** Every change of one key, in order. */
  async function history() {
    let last;
    while (!signal.aborted) {
      try {
        const since = store.revision;
        last = undefined;
        for await (const { type, value } of store.watch({ key: 'count', history: true, since, signal })) {
          if (type !== 'set') continue;
          if (last !== undefined && value !== last + 1) fail(`the count was ${last}, and is ${value}`);
          last = value;
        }
      } catch (error) {
        const { code } = /** @type {NodeJS.ErrnoException} */ (error);
        if (code !== 'ERR_RCLUSTER_COMPACTED' && !signal.aborted) throw error;
      }
    }
  }

  async function work() {
    while (!signal.aborted) {
      const some = Array.from({ length: 1 + pick(5) }, () => actions[pick(actions.length)]());
      for (const { reason } of await Promise.allSettled(some)) {
        if (reason !== undefined && reason !== signal.reason) fail(reason);
      }
      await new Promise(setImmediate);
    }
  }

  const done = Promise.all([work(), work()]);
  process.send?.({ works: true });
  const settled = async (/** @type {Promise<unknown>} */ promise, /** @type {AbortSignal} */ by) => {
    const [{ reason }] = /** @type {PromiseRejectedResult[]} */ (await Promise.allSettled([promise]));
    if (reason !== undefined && reason !== by.reason) fail(reason);
  };
  const stages = {
    async stop() {
      stopping.abort();
      await leader.stop();
      await done;
      await settled(counting, signal);
    },
    async compare() {
      await hasLast.promise;
      ending.abort();
      await settled(watching, ending.signal);
      const sorted = (/** @type {Iterable<any>} */ entries) => JSON.stringify([...entries].sort());
      return {
        id,
        wrong,
        entries: JSON.stringify(store.entries()),
        watched: sorted(state.watched),
        own: sorted(store.entries({ prefix: 'own:' })),
      };
    },
  };
  process.on('message', async (/** @type {{ stage: 'stop' | 'compare' }} */ { stage }) => {
    process.send?.({ ended: stage, state: await stages[stage]() });
  });
}

module.exports = { run };
