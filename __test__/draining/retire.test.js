'use strict';

// A worker's control over its own retirement, and the events that it emits.

const assert = require('node:assert');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withLifecycle, clientOf } = require('../helpers/lifecycle.js');

const skip = isBuiltin && 'the built-in has no such functions';

test('a worker can retire itself', { skip }, () =>
  withLifecycle({}, async (app) => {
    const [{ id }] = app.workers;
    const client = await clientOf(app, id);
    const held = client.get('/hold');
    await app.marker('held');
    app.tell('tell', { id, command: 'retire', reason: 'tired' });
    const { reason, deadline } = await app.marker('retiring');
    assert.strictEqual(reason, 'tired');
    assert.strictEqual(deadline, null, 'nobody forces it');
    app.tell('tell', { id, command: 'state' });
    assert.strictEqual((await app.marker('state')).exitedAfterDisconnect, true);
    app.tell('tell', { id, command: 'release', url: '/hold' });
    assert.strictEqual((await held).text, `${id}`);
    assert.deepStrictEqual(await app.marker('exit'), { id, code: 0, signal: null, agreed: true });
    client.close();
  }),
);

test('a reason that is not a string is refused', { skip }, () =>
  withLifecycle({}, async (app) => {
    app.tell('tell', { id: 1, command: 'misuse' });
    const { name, code, message } = await app.marker('refused');
    assert.deepStrictEqual([name, code], ['TypeError', 'ERR_INVALID_ARG_TYPE']);
    assert.match(message, /"reason"/);
  }),
);

test('a worker may report that it is ready, even if no option needs it', { skip }, () =>
  withLifecycle({}, async (app) => {
    app.tell('tell', { id: 1, command: 'ready' });
    await app.marker('said ready');
    // Its link still works.
    app.tell('retire', { id: 1 });
    assert.strictEqual((await app.marker('exit')).code, 0);
  }),
);

test('a supervised worker knows its slot, and its environment has no variables of rcluster', { skip }, () =>
  withLifecycle({ SUPERVISED: '1' }, async (app) => {
    for (const { id } of app.workers) {
      app.tell('tell', { id, command: 'state' });
      const { slot, instance, env } = await app.marker('state');
      assert.strictEqual(slot, id - 1);
      assert.strictEqual(instance, `${id - 1}`);
      assert.deepStrictEqual(
        env.filter((name) => !['RCLUSTER_TMP', 'RCLUSTER_SUBJECT'].includes(name)),
        [],
      );
    }
  }),
);

test('a worker without supervision has no slot', { skip }, () =>
  withLifecycle({}, async (app) => {
    app.tell('tell', { id: 1, command: 'state' });
    assert.strictEqual((await app.marker('state')).slot, undefined);
  }),
);

test(
  'a supervised worker ignores SIGINT, retires at SIGTERM, and finishes despite further signals',
  { skip },
  () =>
    withLifecycle({ SUPERVISED: '1' }, async (app) => {
      const [{ id }] = app.workers;
      const client = await clientOf(app, id);
      const held = client.get('/hold');
      await app.marker('held');
      app.tell('signal', { id, signal: 'SIGINT' });
      app.tell('signal', { id, signal: 'SIGTERM' });
      const { reason, deadline, now } = await app.marker('retiring');
      assert.strictEqual(reason, 'SIGTERM');
      assert.ok(deadline > now && deadline <= now + 10_000);
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGTERM']) app.tell('signal', { id, signal });
      app.tell('tell', { id, command: 'state' });
      await app.marker('state');
      app.tell('tell', { id, command: 'release', url: '/hold' });
      assert.strictEqual((await held).text, `${id}`);
      assert.deepStrictEqual(await app.marker('exit'), { id, code: 0, signal: null, agreed: true });
      client.close();
    }),
);

test('an application that listens for SIGTERM handles it itself', { skip }, () =>
  withLifecycle({ SUPERVISED: '1' }, async (app) => {
    const [{ id }] = app.workers;
    app.tell('tell', { id, command: 'heed' });
    app.tell('tell', { id, command: 'state' });
    await app.marker('state');
    for (let count = 0; count < 2; count++) {
      app.tell('signal', { id, signal: 'SIGTERM' });
      await app.marker('heeded');
    }
    app.tell('tell', { id, command: 'state' });
    assert.strictEqual((await app.marker('state')).exitedAfterDisconnect, undefined);
  }),
);

test('a worker without supervision ends at SIGTERM and SIGINT as with the built-in', { skip }, () =>
  withLifecycle({}, async (app) => {
    for (const [index, signal] of ['SIGTERM', 'SIGINT'].entries()) {
      const { id } = app.workers[index];
      app.tell('signal', { id, signal });
      assert.deepStrictEqual(await app.marker('exit'), { id, code: null, signal, agreed: false });
    }
  }),
);
