'use strict';

/* oxlint-disable unicorn/prefer-add-event-listener -- the test is about the handlers */

// cluster.BroadcastChannel in one process behaves like Node's class. The same assertions run on both.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { describe, test } = require('node:test');
const { inspect } = require('node:util');
const { OURS, isBuiltin } = require('../../testing/subject.js');

const Ours = isBuiltin ? undefined : require(OURS).BroadcastChannel;

/** A thrown error in a comparable form. */
function thrown(run) {
  try {
    run();
  } catch (error) {
    return { name: error.name, code: error.code, message: error.message, dom: error instanceof DOMException };
  }
  return undefined;
}

/** The next message of a channel. */
const next = async (channel) => (await once(channel, 'message'))[0].data;

for (const [label, BroadcastChannel] of Object.entries({ "Node's": globalThis.BroadcastChannel, Ours })) {
  describe(`${label} BroadcastChannel`, { skip: BroadcastChannel === undefined }, () => {
    test('has the API of the class', () => {
      assert.strictEqual(BroadcastChannel.name, 'BroadcastChannel');
      assert.strictEqual(BroadcastChannel.length, 1);
      const { prototype } = BroadcastChannel;
      assert.deepStrictEqual(
        Object.getOwnPropertyNames(prototype)
          .filter((name) => Object.getOwnPropertyDescriptor(prototype, name).enumerable)
          .sort(),
        ['close', 'name', 'onmessage', 'onmessageerror', 'postMessage'],
      );
      assert.deepStrictEqual(Object.getOwnPropertyNames(prototype).sort(), [
        'close',
        'constructor',
        'name',
        'onmessage',
        'onmessageerror',
        'postMessage',
        'ref',
        'unref',
      ]);
      const channel = new BroadcastChannel(5);
      assert(channel instanceof EventTarget);
      assert.strictEqual(channel.name, '5');
      assert.deepStrictEqual([channel.onmessage, channel.onmessageerror], [null, null]);
      assert.strictEqual(channel.ref(), channel);
      assert.strictEqual(channel.unref(), channel);
      assert.strictEqual(inspect(channel), "BroadcastChannel { name: '5', active: true }");
      assert.strictEqual(channel.close(), undefined);
      assert.strictEqual(channel.close(), undefined);
      assert.strictEqual(inspect(channel), "BroadcastChannel { name: '5', active: false }");
      assert.strictEqual(channel.ref(), channel);
    });

    test('refuses what the class refuses', () => {
      const { prototype } = BroadcastChannel;
      const invalid = {
        name: 'TypeError',
        code: 'ERR_INVALID_THIS',
        message: 'Value of "this" must be of type BroadcastChannel',
        dom: false,
      };
      for (const method of ['postMessage', 'close', 'ref', 'unref']) {
        assert.deepStrictEqual(
          thrown(() => prototype[method].call({}, 1)),
          invalid,
        );
      }
      assert.deepStrictEqual(
        thrown(() => prototype.name),
        invalid,
      );
      const missing = (name) => ({
        name: 'TypeError',
        code: 'ERR_MISSING_ARGS',
        message: `The "${name}" argument must be specified`,
        dom: false,
      });
      assert.deepStrictEqual(
        thrown(() => new BroadcastChannel()),
        missing('name'),
      );
      assert.strictEqual(thrown(() => new BroadcastChannel(Symbol('s'))).name, 'TypeError');
      const channel = new BroadcastChannel('refuses');
      assert.deepStrictEqual(
        thrown(() => channel.postMessage()),
        missing('message'),
      );
      for (const [value, message] of [
        [() => {}, '()=>{} could not be cloned.'],
        [Symbol('s'), 'Symbol(s) could not be cloned.'],
        [{ deep: new WeakMap() }, '#<WeakMap> could not be cloned.'],
      ]) {
        const { name, code, dom, message: text } = thrown(() => channel.postMessage(value));
        assert.deepStrictEqual([name, code, dom], ['DataCloneError', 25, true]);
        assert.strictEqual(text.replaceAll(' ', ''), message.replaceAll(' ', ''));
      }
      channel.close();
      assert.deepStrictEqual(
        thrown(() => channel.postMessage(1)),
        { name: 'InvalidStateError', code: 11, message: 'BroadcastChannel is closed.', dom: true },
      );
    });

    test('delivers to others, not to itself, and a separate clone to each', async () => {
      const [one, two, three] = ['clones', 'clones', 'clones'].map((name) => new BroadcastChannel(name));
      one.onmessage = () => assert.fail('it hears itself');
      const object = {
        n: -0,
        list: Object.assign([], { 0: 1, 2: 3 }),
        map: new Map([[1, new Set([2])]]),
        none: undefined,
        big: 5n,
      };
      object.self = object;
      const shared = { date: new Date(5) };
      const error = new RangeError('m', { cause: 1 });
      const message = {
        object,
        a: shared,
        b: shared,
        error,
        nan: NaN,
        bytes: new Uint8Array([1, 2]),
        re: /a/g,
      };
      const heard = Promise.all([once(two, 'message'), once(three, 'message')]);
      one.postMessage(message);
      const [[first], [second]] = await heard;
      assert.deepStrictEqual(first.data.object, object);
      for (const { data, type, target, origin, ports } of [first, second]) {
        assert.deepStrictEqual([type, origin, [...ports]], ['message', '', []]);
        assert(target === two || target === three);
        assert.strictEqual(data.a, data.b);
        assert.strictEqual(data.object.self, data.object);
        assert(data.error instanceof RangeError && data.error.message === 'm');
        assert.deepStrictEqual([data.nan, [...data.bytes], data.re.flags], [NaN, [1, 2], 'g']);
        assert(Object.is(data.object.n, -0) && !(1 in data.object.list) && 'none' in data.object);
      }
      assert(first instanceof MessageEvent);
      assert.notStrictEqual(first.data, second.data);
      one.postMessage(Buffer.from('text'));
      const buffer = await next(two);
      assert(buffer instanceof Uint8Array && !Buffer.isBuffer(buffer));
      for (const channel of [one, two, three]) channel.close();
    });

    test('keeps the order of messages and of handlers', async () => {
      const [from, to] = ['order', 'order'].map((name) => new BroadcastChannel(name));
      const order = [];
      const ended = new Promise((resolve) => {
        to.onmessage = ({ data }) => order.push(`old ${data}`);
        to.addEventListener('message', ({ data }) => {
          order.push(data);
          if (data === 'end') resolve();
        });
        const handler = function ({ data }) {
          assert.strictEqual(this, to);
          order.push(`on ${data}`);
        };
        to.onmessage = handler;
        assert.strictEqual(to.onmessage, handler);
      });
      for (const message of [1, 'two', 'end']) from.postMessage(message);
      await ended;
      assert.deepStrictEqual(order, ['on 1', 1, 'on two', 'two', 'on end', 'end']);
      to.onmessage = null;
      assert.strictEqual(to.onmessage, null);
      // Channels of another name, and closed ones, receive nothing.
      const other = new BroadcastChannel('another');
      other.onmessage = () => assert.fail('of another name');
      const closed = new BroadcastChannel('order');
      closed.onmessage = () => assert.fail('it is closed');
      from.postMessage('late');
      closed.close();
      assert.strictEqual(await next(to), 'late');
      for (const channel of [from, to, other]) channel.close();
    });

    test('keeps the process alive until it is closed or unref() is called', () => {
      const source = label === 'Ours' ? `require(${JSON.stringify(OURS)})` : 'globalThis';
      const run = (code) =>
        spawnSync(process.execPath, ['-e', `const { BroadcastChannel } = ${source};${code}`], {
          cwd: path.join(__dirname, '..', '..'),
          encoding: 'utf8',
          timeout: 120_000,
        });
      for (const code of [
        "new BroadcastChannel('x').unref()",
        "new BroadcastChannel('x').close()",
        "const x = new BroadcastChannel('x'); x.unref(); x.ref(); x.close()",
        "const [x, y] = [new BroadcastChannel('x'), new BroadcastChannel('x').unref()]; " +
          'x.onmessage = () => x.close(); y.postMessage(1)',
      ]) {
        const { status, stderr } = run(code);
        assert.deepStrictEqual([status, stderr], [0, ''], code);
      }
      const { stdout } = run(
        "new BroadcastChannel('x'); setTimeout(() => { console.log('alive'); process.exit(); }, 500).unref()",
      );
      assert.strictEqual(stdout.trim(), 'alive');
    });
  });
}
