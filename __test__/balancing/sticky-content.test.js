'use strict';

// A client is identified by its first bytes, and the worker still receives every byte.

const assert = require('node:assert');
const net = require('node:net');
const { test } = require('node:test');
const { withFixture } = require('../helpers/run-fixture.js');
const { exchange } = require('../../testing/clients.js');

/**
 * @param {object} sticky
 * @param {(ask: (send: string, localAddress?: string) => Promise<{ id: number, seen: string }>, target: any) => any} body
 */
function withEcho(sticky, body) {
  // A busy machine may keep a worker or a client from its CPU for longer than the default time limits.
  const unhurried = { patience: 60_000, timeout: 60_000 };
  const env = { SCHEDULING: JSON.stringify({ policy: 'sticky', sticky: { ...unhurried, ...sticky } }) };
  return withFixture('echo.js', { env }, async (fixture) => {
    const target = await fixture.marker('listening');
    const ask = async (send, localAddress = '127.0.0.1') => {
      const { outcome, text } = await exchange({ ...target, localAddress }, `${send}END`);
      assert.strictEqual(outcome, 'answered');
      return JSON.parse(text);
    };
    return body(ask, target);
  });
}

const values = Array.from({ length: 24 }, (_, n) => `value-${n}`);

for (const [by, request] of /** @type {const} */ ([
  ['cookie', (value) => `GET / HTTP/1.1\r\nHost: x\r\nCookie: a=1; id=${value}; b=2\r\n\r\n`],
  ['header', (value) => `POST / HTTP/1.1\r\nID: ${value}\r\n\r\nbody`],
  ['query', (value) => `GET /path?x=1&id=${value} HTTP/1.1\r\n\r\n`],
])) {
  test(`by ${by}`, () =>
    withEcho({ by, name: 'id' }, async (ask) => {
      const homes = new Map();
      for (const value of values) {
        const { id, seen } = await ask(request(value));
        assert.strictEqual(seen, `${request(value)}END`, 'nothing was consumed');
        homes.set(value, id);
      }
      assert.strictEqual(new Set(homes.values()).size, 4);
      // The address does not matter.
      for (const value of values) {
        assert.strictEqual((await ask(request(value), '127.0.9.9')).id, homes.get(value));
      }
    }));
}

test('a client that sends no usable key is identified by its address', () =>
  withEcho({ by: 'cookie', name: 'id', timeout: 20 }, async (ask, target) => {
    const localAddress = '127.0.8.1';
    const { id } = await ask('GET / HTTP/1.1\r\n\r\n', localAddress);
    assert.strictEqual((await ask('no request at all', localAddress)).id, id);
    // Half a request, and the rest only once a worker has received it.
    const socket = net.connect({ ...target, localAddress });
    socket.write('GET / HT');
    const [first] = await require('node:events').once(socket.setEncoding('utf8'), 'data');
    assert.strictEqual(first, 'hello');
    socket.write('END');
    let rest = '';
    for await (const chunk of socket) rest += chunk;
    assert.deepStrictEqual(JSON.parse(rest), { id, seen: 'GET / HTEND' });
  }));

test('by the address that a proxy reports', () =>
  withEcho({ proxyProtocol: true }, async (ask) => {
    const header = (n) => `PROXY TCP4 192.0.2.${n} 192.0.2.1 5000 80\r\n`;
    const binary = (n) =>
      `\r\n\r\n\0\r\nQUIT\n${String.fromCharCode(0x21, 0x11, 0, 12, 64, 0, 2, n, 64, 0, 2, 1, 1, 1, 0, 80)}`;
    const homes = [];
    for (let n = 0; n < 24; n++) {
      const { id, seen } = await ask(header(n));
      assert.strictEqual(seen, `${header(n)}END`);
      homes.push(id);
    }
    assert.strictEqual(new Set(homes).size, 4);
    for (let n = 0; n < 24; n++) assert.strictEqual((await ask(header(n), '127.0.9.9')).id, homes[n]);
    // Both versions name the same client (64.0.2.n here, whose bytes are below 128 and can be sent as text).
    for (let n = 0; n < 8; n++) {
      const text = `PROXY TCP4 64.0.2.${n} 64.0.2.1 5000 80\r\n`;
      assert.strictEqual((await ask(binary(n))).id, (await ask(text)).id);
    }
  }));

test('an identifier leads back to the worker that created it', () =>
  withEcho({ by: 'query', name: 'sid' }, async (ask) => {
    for (let n = 0; n < 12; n++) {
      const { id, sid } = await ask(`GET /?n=${n} HTTP/1.1\r\n\r\n`, `127.0.6.${n + 1}`);
      assert.match(sid, /^s\d~[\w-]{20}$/);
      assert.strictEqual((await ask(`GET /?sid=${sid} HTTP/1.1\r\n\r\n`, '127.0.9.9')).id, id);
    }
  }));
