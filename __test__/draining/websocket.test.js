'use strict';

// A WebSocket belongs to the application, which learns from the event 'retire' that it should close it.

const assert = require('node:assert');
const { once } = require('node:events');
const { test } = require('node:test');
const { WebSocket } = require('ws');
const { isBuiltin } = require('../../testing/subject.js');
const { withLifecycle } = require('../helpers/lifecycle.js');

const skip = isBuiltin && 'the built-in does not drain';

test('a WebSocket is closed by the application, and its client reconnects to another worker', { skip }, () =>
  withLifecycle({ SERVER: 'ws' }, async (app) => {
    const connect = async () => {
      const socket = new WebSocket(`ws://${app.target.host}:${app.target.port}`);
      await once(socket, 'open');
      socket.send('hello');
      const [data] = await once(socket, 'message');
      return { socket, id: Number(String(data).split(' ')[0]) };
    };
    const { socket, id } = await connect();
    const closed = once(socket, 'close');
    app.tell('retire', { id });
    const [code, reason] = await closed;
    assert.deepStrictEqual([code, String(reason)], [1001, 'the worker retires']);
    assert.deepStrictEqual(await app.marker('exit'), { id, code: 0, signal: null, agreed: true });
    const next = await connect();
    assert.notStrictEqual(next.id, id);
    next.socket.close();
    await once(next.socket, 'close');
  }),
);
