'use strict';

// Which AsyncLocalStorage values listeners and handlers find, when another caller was the first to use the same part.

const assert = require('node:assert');
const { AsyncLocalStorage } = require('node:async_hooks');
const { once } = require('node:events');
const { after, describe, test } = require('node:test');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has none of this';
const cluster = isBuiltin ? {} : require(OURS);
const storage = new AsyncLocalStorage();

/** @param {string} name */
const channel = (name) => new cluster.BroadcastChannel(name);

describe('after a first user, whose context is another one', { skip }, () => {
  // Neither a handler nor a listener keeps this process alive.
  const alive = setInterval(() => {}, 1000);
  after(() => clearInterval(alive));

  test('listeners of a channel run in the context of its creator', async () => {
    const first = storage.run('first', channel, 'channel');
    const second = storage.run('second', channel, 'channel');
    const sender = channel('channel');
    try {
      /** @type {unknown[]} */
      const contexts = [];
      for (const one of [first, second]) {
        one.addEventListener('message', () => contexts.push(storage.getStore()));
      }
      sender.postMessage('message');
      await once(second, 'message');
      assert.deepStrictEqual(contexts, ['first', 'second']);
    } finally {
      for (const one of [first, second, sender]) one.close();
    }
  });

  test('a handler runs in the context of its registration', async () => {
    await storage.run('first', () => assert.rejects(cluster.request('primary', 'none')));
    const { promise, resolve } = withResolvers();
    const handler = storage.run('second', () =>
      cluster.handle('handler', (/** @type {string} */ how) => {
        if (how === 'notice') resolve(storage.getStore());
        return storage.getStore();
      }),
    );
    try {
      const ask = () => cluster.request('primary', 'handler', 'request');
      assert.strictEqual(await storage.run('caller', ask), 'second');
      cluster.notify('primary', 'handler', 'notice');
      assert.strictEqual(await promise, 'second');
    } finally {
      handler.stop();
    }
  });

  test('listeners of a store run in no context, and iterations in that of their caller', async () => {
    const { promise, resolve } = withResolvers();
    /** @type {unknown[]} */
    const contexts = [];
    const onChange = () => contexts.push(storage.getStore());
    const onLast = () => resolve(storage.getStore());
    const store = storage.run('first', () => cluster.shared('store').on('change', onChange));
    storage.run('second', () => store.on('change', onLast));
    const iteration = storage.run('second', async () => {
      for await (const { type } of store.watch()) if (type === 'set') return storage.getStore();
    });
    await storage.run('caller', () => store.set('key', 'value'));
    assert.strictEqual(await promise, undefined);
    assert.deepStrictEqual(contexts, [undefined]);
    assert.strictEqual(await iteration, 'second');
    store.off('change', onChange).off('change', onLast);
  });

  for (const [kind, how] of Object.entries({ shared: { every: 60_000 }, own: { polling: 60_000 } })) {
    test(`the source of a store is loaded in no context: ${kind}`, async () => {
      /** @type {unknown[]} */
      const contexts = [];
      const load = async () => {
        contexts.push(storage.getStore());
        return {};
      };
      await storage.run('first', () => cluster.shared(kind, { source: { load, ...how } }).ready);
      assert.deepStrictEqual(contexts, [undefined]);
    });
  }

  test('the callback of a lock runs in the context of its caller', async () => {
    await storage.run('first', () => cluster.locks.request('lock', () => {}));
    const lock = storage.run('second', () => cluster.locks.request('lock', () => storage.getStore()));
    assert.strictEqual(await lock, 'second');
  });
});

/** As Promise.withResolvers() of Node 22. */
function withResolvers() {
  /** @type {(value: unknown) => void} */
  let resolve = () => {};
  const promise = new Promise((resolvePromise) => {
    resolve = resolvePromise;
  });
  return { promise, resolve };
}
