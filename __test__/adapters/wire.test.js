'use strict';

// What other workers get of a broadcast is what Socket.IO writes for clients, whatever the data.

const assert = require('node:assert');
const { describe, test } = require('node:test');
const { Decoder, Encoder } = require('socket.io-parser');
const { onWire } = require('../../lib/adapters/wire.js');

/** What a client gets. */
function sent(data) {
  let got;
  const decoder = new Decoder();
  decoder.on('decoded', (packet) => (got = packet.data));
  for (const part of new Encoder().encode({ type: 2, nsp: '/', data })) decoder.add(part);
  return got;
}

class User {
  name = 'bob';
  password = 'secret';
  toJSON() {
    return { name: this.name };
  }
}

class Day extends Date {
  toJSON() {
    return 'day';
  }
}

class Point {
  x = 1;
  #y = 2;
  get y() {
    return this.#y;
  }
}

const twice = { a: 1 };
// An array with a hole.
const holes = [1];
holes[2] = 3;

const VALUES = {
  scalars: ['text', '', 0, 1.5, true, false, null],
  'what JSON converts': [undefined, () => 1, Symbol('s'), NaN, Infinity, -Infinity, -0, holes],
  'what JSON leaves out': [{ a: undefined, b: () => 1, c: Symbol('s'), d: 1, [Symbol('key')]: 1 }],
  'objects with toJSON()': [
    new User(),
    { in: [new User()] },
    new Day(0),
    Object.assign(new Date(0), { toJSON: () => 'own' }),
    new URL('http://a/'),
  ],
  dates: [new Date(0), { in: [new Date(1)] }, new Date(NaN)],
  'a function with toJSON()': [Object.assign(() => 1, { toJSON: () => 'function' })],
  'the key for toJSON()': [{ toJSON: (key) => typeof key }, { a: { toJSON: (key) => key } }],
  'toJSON() once': [{ toJSON: () => ({ toJSON: () => 1, a: 1 }) }],
  'classes and collections': [
    new Point(),
    new Map([[1, 2]]),
    new Set([1]),
    new Error('no'),
    /x/,
    Object.create(null),
  ],
  'boxed values': [Object(1), Object('a'), Object(true)],
  'an object twice': [twice, twice, { twice }],
  'a key __proto__': [JSON.parse('{"__proto__":{"a":1},"b":2}'), undefined],
};

const BINARY = {
  'binary values': [Buffer.from('a'), { deep: [new Uint8Array([1, 2])] }, new Uint8Array([3]).buffer],
  'beside others': [Buffer.from('a'), new User(), { date: new Date(0), none: undefined, nothing: null }],
  'from toJSON()': [{ toJSON: () => Buffer.from('made') }],
};

/** Which class binary values have depends on the connection. */
function asBuffers(value) {
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(asBuffers);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asBuffers(item)]));
}

describe('the data of a packet', () => {
  for (const [label, values] of Object.entries(VALUES)) {
    test(label, () => {
      const data = ['event', ...values];
      assert.deepStrictEqual(JSON.parse(JSON.stringify(onWire(data))), JSON.parse(JSON.stringify(data)));
      // Nothing is left to be converted, except dates.
      if (label !== 'dates') assert.deepStrictEqual(onWire(data), JSON.parse(JSON.stringify(data)));
      if (label !== 'the key for toJSON()') assert.deepStrictEqual(sent(onWire(data)), sent(data));
    });
  }

  for (const [label, values] of Object.entries(BINARY)) {
    test(label, () => {
      const data = ['event', ...values];
      assert.deepStrictEqual(asBuffers(sent(onWire(data))), asBuffers(sent(data)));
    });
  }

  test('binary values are not copied', () => {
    const [, bytes] = onWire(['event', Buffer.from('a'), new User()]);
    assert(Buffer.isBuffer(bytes));
    const given = new Uint8Array([1]);
    assert.strictEqual(onWire([given])[0], given);
  });

  test('dates stay dates, for parsers that have a form for them', () => {
    const date = new Date(0);
    assert.deepStrictEqual(onWire(['event', { date }]), ['event', { date }]);
  });

  test('plain data is not copied', () => {
    const data = ['event', { a: [1, 'b', null] }];
    assert.strictEqual(onWire(data), data);
  });

  test('what JSON cannot represent is refused', () => {
    const circle = {};
    circle.self = [circle];
    for (const value of [10n, Object(10n), { deep: [1n] }, circle]) {
      assert.throws(() => onWire(['event', value]), TypeError);
      assert.throws(() => onWire(['event', value, Buffer.from('a')]), TypeError);
    }
    const failing = { toJSON: () => assert.fail('own error') };
    assert.throws(() => onWire([failing]), /own error/);
  });
});
