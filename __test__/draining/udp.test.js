'use strict';

// A retiring worker receives no more datagrams: others do. It can still answer those that it has received.

const assert = require('node:assert');
const dgram = require('node:dgram');
const { once } = require('node:events');
const { test } = require('node:test');
const { isBuiltin } = require('../../testing/subject.js');
const { withLifecycle } = require('../helpers/lifecycle.js');
const { until } = require('../../testing/processes.js');

const skip = isBuiltin && 'the built-in does not drain';

test('UDP: datagrams go to other workers', { skip }, () =>
  withLifecycle({ SERVER: 'udp' }, async (app) => {
    const client = dgram.createSocket('udp4');
    client.bind(0, '127.0.0.1');
    await once(client, 'listening');
    const send = (text) => client.send(text, app.target.port, app.target.host);
    const ask = async (text) => {
      send(text);
      const [answer] = await once(client, 'message');
      return String(answer);
    };
    send('hold');
    const { id } = await app.marker('held');
    const staying = 3 - id;
    app.tell('retire', { id });
    await app.marker('retiring');
    for (let count = 0; count < 20; count++) assert.strictEqual(await ask(`${count}`), `${staying} ${count}`);
    const late = once(client, 'message');
    app.tell('tell', { id, command: 'release', url: 'hold' });
    assert.strictEqual(String((await late)[0]), `${id} hold`);
    assert.deepStrictEqual(await app.marker('exit'), { id, code: 0, signal: null, agreed: true });
    await until('the other one still answers', async () => (await ask('hello')) === `${staying} hello`);
    client.close();
  }),
);
