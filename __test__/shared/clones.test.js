'use strict';

// Values that another process could not read, or would read as something else, are refused where they are written; all
// others arrive as they were.

const assert = require('node:assert');
const net = require('node:net');
const { describe, test } = require('node:test');
const { load, isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin ? 'the built-in has no shared stores' : false;

/** An array in an array in an array … */
function nested(depth) {
  let value = [];
  for (let level = 1; level < depth; level++) value = [value];
  return value;
}

/** @param {any} value */
function depthOf(value) {
  let depth = 0;
  for (let rest = value; rest !== undefined; [rest] = rest) depth += 1;
  return depth;
}

const detached = () => {
  const array = new Uint8Array(8);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
};

const REFUSED = {
  'a deeply nested array': () => nested(1001),
  'an array nested so deeply that V8 cannot write it': () => nested(20_000),
  'deeply nested maps and sets': () => {
    let value = new Map();
    for (let level = 0; level < 600; level++) value = new Map([[level, new Set([value])]]);
    return value;
  },
  'a Blob': () => new Blob(['a']),
  'a Blob in an object': () => ({ inside: [new Blob(['a'])] }),
  'a BlockList': () => new net.BlockList(),
  'a URL': () => new URL('http://localhost'),
  Headers: () => new Headers(),
  'an AbortSignal': () => new AbortController().signal,
  'a stream': () => new ReadableStream(),
  'a module': () => new WebAssembly.Module(Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])),
  'an array without its memory': detached,
  'a view without its memory': () => {
    const view = new DataView(new ArrayBuffer(8));
    structuredClone(view.buffer, { transfer: [view.buffer] });
    return view;
  },
  'a function': () => () => {},
  'a proxy of a map': () => new Proxy(new Map(), {}),
};

describe('a value', { skip }, () => {
  const cluster = load();
  const store = isBuiltin ? undefined : cluster.shared('clones', { size: '16MB' });

  /** What `value` is after a write. */
  const written = async (value) => {
    await store.set('key', value);
    return store.get('key');
  };

  for (const [name, make] of Object.entries(REFUSED)) {
    test(`${name} is refused`, async (t) => {
      await assert.rejects(store.set('refused', make()), { code: 'ERR_RCLUSTER_SHARED_VALUE' });
      assert.strictEqual(store.has('refused'), false);
      const channel = new cluster.BroadcastChannel('clones');
      t.after(() => channel.close());
      assert.throws(() => channel.postMessage(make()), { name: 'DataCloneError' });
      assert.throws(() => cluster.notify('any', 'clones', make()), { name: 'DataCloneError' });
    });
  }

  test('that is nested 1,000 levels deep is read as it was', async () => {
    assert.strictEqual(depthOf(await written(nested(1000))), 1000);
    let map = new Map();
    for (let level = 1; level < 1000; level++) map = new Map([[0, map]]);
    let depth = 0;
    for (let rest = await written(map); rest !== undefined; rest = rest.get(0)) depth += 1;
    assert.strictEqual(depth, 1000);
  });

  test('whose parts occur twice keeps their identity', async () => {
    const part = { text: 'x'.repeat(10_000) };
    const found = await written(Array.from({ length: 200 }, (_, id) => ({ id, part })));
    assert.strictEqual(found[0].part, found[199].part);
    assert.deepStrictEqual(found[7], { id: 7, part });
    // As JSON, this would have 2^30 parts.
    let doubled = {};
    for (let level = 0; level < 30; level++) doubled = [doubled, doubled];
    const [one, other] = await written(doubled);
    assert.strictEqual(one, other);
  });

  test('that is a typed array has memory of its own', async () => {
    for (const array of [new Uint8Array([1, 2, 3]), new Float64Array([1.5, 2.5]), new BigInt64Array([1n])]) {
      const found = await written(array);
      assert.deepStrictEqual(found, array);
      assert.strictEqual(found.byteOffset, 0);
      assert.strictEqual(found.buffer.byteLength, array.byteLength);
    }
    const part = new Uint8Array([1, 2, 3, 4]).subarray(1, 3);
    assert.deepStrictEqual(await written({ part }), { part: new Uint8Array([2, 3]) });
    const view = (await written({ view: new DataView(new ArrayBuffer(16), 4, 8) })).view;
    assert.deepStrictEqual([view.byteLength, view.buffer.byteLength], [8, 8]);
    const buffer = await written({ buffer: Buffer.from('text') });
    assert.deepStrictEqual(buffer, { buffer: Buffer.from('text') });
  });

  test('that is an error is read with its causes, or refused', async () => {
    const error = new Error('outer', { cause: new TypeError('inner', { cause: { code: 1 } }) });
    const found = await written({ error });
    assert.strictEqual(found.error.cause.message, 'inner');
    assert.deepStrictEqual(found.error.cause.cause, { code: 1 });
    const own = new Error('its own cause');
    own.cause = own;
    const outcome = await written(own).catch(({ code }) => code);
    // Not every version of V8 can read it.
    if (outcome !== 'ERR_RCLUSTER_SHARED_VALUE') assert.strictEqual(outcome.cause, outcome);
  });

  test('of a class of the app is read as a plain object', async () => {
    class Point {
      x = 1;
      get [Symbol.toStringTag]() {
        return 'Point';
      }
    }
    assert.deepStrictEqual(await written({ point: new Point(), at: new Date(0) }), {
      point: { x: 1 },
      at: new Date(0),
    });
    assert.deepStrictEqual(await written({ [Symbol.toStringTag]: 'URL', a: 1n }), { a: 1n });
  });

  test('is not found under a key that is not well-formed', async () => {
    await store.set('user:\ufffd', 'of another');
    for (const key of ['user:\udead', 'user:\ud800', 'user:\udc00\ud800']) {
      assert.strictEqual(store.get(key), undefined);
      assert.strictEqual(store.has(key), false);
      assert.strictEqual(store.entry(key), undefined);
    }
    assert.strictEqual(store.get('user:\ufffd'), 'of another');
    await store.set('user:\u{1f600}\ufffd', 'well-formed');
    assert.strictEqual(store.get('user:\u{1f600}\ufffd'), 'well-formed');
    assert.throws(() => cluster.shared('\ud800'), { code: 'ERR_INVALID_ARG_VALUE' });
  });

  test('is created once for each store, whatever characters its name has', async () => {
    const options = { size: '1MB' };
    const [one, other] = [cluster.shared('a\0b', options), cluster.shared('a', options)];
    const created = await Promise.all([
      one.getOrCreate('c', async () => 'one'),
      other.getOrCreate('b\0c', async () => 'other'),
    ]);
    assert.deepStrictEqual(created, ['one', 'other']);
  });

  test('is not written with options that cannot be read', async () => {
    for (const wrong of [new Map([['ttl', 5]]), [], 'ttl', null, new Date()]) {
      await assert.rejects(store.set('key', 1, wrong), { code: 'ERR_INVALID_ARG_TYPE' });
    }
  });
});
