'use strict';

// Several handles are in flight at a time, even if the other end dies, runs out of descriptors, sends false
// acknowledgements or does not run rcluster.

const assert = require('node:assert');
const { fork } = require('node:child_process');
const { on, once } = require('node:events');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { improveChannel } = require('../../lib/seam/channel.js');
const { descriptorsOf, until } = require('../../testing/processes.js');
const { withFixture } = require('../helpers/run-fixture.js');
const { isBuiltin } = require('../../testing/subject.js');

// With the built-in, callbacks are missing and 'disconnect' is not emitted.
test('a worker dies with handles in flight: all callbacks are called', { skip: isBuiltin }, () =>
  withFixture('messages/handles.js', {}, async (fixture) => {
    fixture.tell('kill');
    const { calls, codes, before } = await fixture.marker('killed');
    assert.strictEqual(calls, 1000);
    // A write may fail at the closed end before the end of the channel is detected.
    const others = codes.filter((code) => code !== 'EPIPE');
    assert.deepStrictEqual(others, ['undefined', 'ERR_IPC_CHANNEL_CLOSED']);
    await until('all are closed', () => descriptorsOf(fixture.pid).size <= before);
  }),
);

test('a disconnection waits until all handles have arrived', () =>
  withFixture('messages/handles.js', {}, async (fixture) => {
    fixture.tell('disconnect');
    await fixture.marker('disconnected');
  }));

test('a worker without descriptors loses handles, and none is mistaken for another', () =>
  withFixture('messages/handles.js', { descriptors: 200 }, async (fixture) => {
    fixture.tell('exhaust');
    const { name, report } = await fixture.marker('exhausted');
    assert.strictEqual(name, 'SentHandleNotReceivedWarning');
    assert.deepStrictEqual(report, { right: 30, wrong: 0 });
  }));

// With the built-in, and with Node in general, this is lost.
test(
  'data that a client sends while its socket is in flight is left to the worker',
  { skip: isBuiltin },
  () =>
    withFixture('messages/handles.js', {}, async (fixture) => {
      fixture.tell('pass');
      const { begun, finished } = await fixture.marker('passed');
      assert.deepStrictEqual(begun, Array(8).fill('begin'));
      assert.deepStrictEqual(finished, Array(8).fill('finish'));
    }),
);

test('a worker acknowledges a handle that it was not sent', { skip: isBuiltin }, () =>
  withFixture('messages/handles.js', {}, async (fixture) => {
    fixture.tell('forge');
    assert.deepStrictEqual(await fixture.marker('forged'), { right: 3, wrong: 0 });
  }),
);

for (const serialization of /** @type {const} */ (['json', 'advanced'])) {
  test(`a child without rcluster gets each handle with its message (${serialization})`, async (t) => {
    const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const sockets = [];
    for (let count = 0; count < 20; count++) {
      const client = net.connect(server.address().port, '127.0.0.1');
      const [socket] = await once(server, 'connection');
      sockets.push(socket);
      t.after(() => [client, socket].forEach((each) => each.destroy()));
    }

    const child = fork(path.join(__dirname, '..', 'fixtures', 'messages', 'plain-child.js'), {
      serialization,
    });
    t.after(() => child.kill());
    improveChannel(child);
    const answers = on(child, 'message');
    const expected = [];
    for (let number = 0; number < 1000; number++) {
      const socket = sockets[number % sockets.length];
      // Of all sizes up to that of one read, so that reads end anywhere.
      const padding = 'x'.repeat(number % 3 === 0 ? (number * 7919) % 70_000 : number % 100);
      if (number % 5 === 0) {
        child.send({ number, padding });
        expected.push({ number });
      } else {
        child.send({ number, padding }, socket, { keepOpen: true });
        expected.push({ number, port: socket.remotePort });
      }
    }
    for (const wanted of expected) {
      const { port, number } = (await answers.next()).value[0];
      assert.deepStrictEqual(port === undefined ? { number } : { number, port }, wanted);
    }
    child.disconnect();
    await once(child, 'exit');
  });
}
