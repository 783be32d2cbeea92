'use strict';

// Connections of servers with protocols of their own belong to the application: they stay open until it or
// the client ends them. New ones go to other workers.

const assert = require('node:assert');
const { once } = require('node:events');
const net = require('node:net');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withLifecycle } = require('../helpers/lifecycle.js');

const skip = isBuiltin && 'the built-in does not drain';

/** @param {net.Socket} socket */
async function ask(socket, text = 'hello') {
  socket.write(text);
  const [answer] = await once(socket, 'data');
  return String(answer);
}

for (const [name, env] of Object.entries({
  'connections that the primary passes on': {},
  'sockets that workers share': { NODE_CLUSTER_SCHED_POLICY: 'none' },
})) {
  test(name, { skip }, () =>
    withLifecycle({ SERVER: 'net', ...env }, async (app) => {
      const [leaving, staying] = app.workers;
      let socket;
      for (;;) {
        socket = net.connect(app.target);
        if ((await ask(socket)) === `${leaving.id} hello`) break;
        socket.destroy();
      }
      app.tell('retire', { id: leaving.id });
      await app.marker('retiring');
      for (let count = 0; count < 20; count++) {
        const other = net.connect(app.target);
        assert.strictEqual(await ask(other), `${staying.id} hello`);
        other.destroy();
        assert.strictEqual(await ask(socket, 'still'), `${leaving.id} still`);
      }
      socket.end();
      assert.deepStrictEqual(await app.marker('exit'), {
        id: leaving.id,
        code: 0,
        signal: null,
        agreed: true,
      });
    }),
  );
}
