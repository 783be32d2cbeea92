'use strict';

// Watches of a store that changes faster than they are read, or that is large.

const assert = require('node:assert');
const { once } = require('node:events');
const { test } = require('node:test');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no shared stores';
const cluster = isBuiltin ? undefined : require(OURS);

const names = (count) => Array.from({ length: count }, (_, index) => `key ${index}`);

/** Sets all keys, a thousand at a time. */
async function fill(store, keys) {
  for (let at = 0; at < keys.length; at += 1000) {
    await Promise.all(keys.slice(at, at + 1000).map((key) => store.set(key, 'x'.repeat(50))));
  }
}

/** Reads until `synced`; all keys are written between two events. */
async function readSlowly(store, keys, options) {
  await fill(store, keys);
  const { revision } = store;
  const events = [];
  for await (const event of store.watch(options)) {
    if (event.type === 'synced') return { revision, events, synced: event.revision };
    events.push(event);
    assert(events.length < 500, 'it is told in time');
    await fill(store, keys);
  }
  return undefined;
}

test('a watcher that is slower than the writes gets `synced`', { skip }, async () => {
  const keys = names(10);
  const store = cluster.shared('slow');
  const { revision, events, synced } = await readSlowly(store, keys);
  assert.strictEqual(synced, revision);
  assert.deepStrictEqual(
    events.map(({ type, key }) => `${type} ${key}`).sort(),
    keys.map((key) => `set ${key}`).sort(),
  );
});

test(
  'with its history, it gets `synced` after what was written while it read the values',
  { skip },
  async () => {
    const store = cluster.shared('slow with history');
    const { revision, events, synced } = await readSlowly(store, names(3), { history: true });
    const changes = events.filter((event) => event.revision > revision);
    assert.deepStrictEqual(
      changes.map((event) => event.revision),
      changes.map((_, index) => revision + 1 + index),
    );
    assert.strictEqual(synced, revision + changes.length);
  },
);

test('removals of keys that a watcher does not know do not come before `synced`', { skip }, async () => {
  const store = cluster.shared('removals');
  await fill(store, names(3));
  const watch = store.watch();
  await watch.next();
  await store.delete('key 1');
  await store.clear({ prefix: 'key 2' });
  const types = [];
  for await (const { type } of watch) {
    types.push(type);
    if (types.length === 3) break;
  }
  assert.deepStrictEqual(types, ['synced', 'delete', 'clear']);
});

test('a long part of the log without an event is passed in several turns', { skip }, async () => {
  const store = cluster.shared('long');
  await fill(store, names(30_000));
  const turned = (promise) => {
    let turns = 0;
    const immediate = setImmediate(() => (turns += 1));
    return promise.then(({ value }) => {
      clearImmediate(immediate);
      return [value.type, turns];
    });
  };
  const watch = store.watch({ prefix: 'other' });
  const abort = new AbortController();
  const aborted = store.watch({ prefix: 'other', signal: abort.signal });
  const [first, second, third] = [turned(watch.next()), watch.next(), aborted.next()];
  abort.abort();
  await assert.rejects(third, { name: 'AbortError' });
  assert.deepStrictEqual(await first, ['synced', 1]);
  await store.set('other', 1);
  assert.strictEqual((await second).value.key, 'other');
  // Nothing of the log is wanted.
  assert.deepStrictEqual(await turned(store.watch({ since: store.revision }).next()), ['synced', 0]);
  assert.deepStrictEqual(await turned(store.watch({ key: 'key 7' }).next()), ['set', 0]);
  const change = once(store, 'change');
  await store.set('other', 2);
  assert.strictEqual((await change)[0].value, 2);
});
