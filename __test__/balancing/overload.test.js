'use strict';

// When no worker is ready, surplus connections are answered or reset at once, if the app wants that; all
// others are served.

const assert = require('node:assert');
const { test } = require('node:test');
const { withApp } = require('../helpers/app.js');

const full = (overload) => ({ env: { MAX: '1', SCHEDULING: JSON.stringify({ overload }) } });

/**
 * Makes both workers full: each accepts one client. A worker that gets no CPU for a while takes none meanwhile, so a client
 * of this function may be one of the surplus ones: then another one is tried.
 */
async function fill(app) {
  const clients = [];
  while (clients.length < app.workers.length) {
    const client = app.stay();
    const text = await client.text.catch(() => 'reset');
    if (/^\d$/.test(text)) clients.push(client);
    else await client.close();
  }
  return clients;
}

test('surplus clients get an HTTP response after a time in the queue', () =>
  withApp(
    full({ queue: 3, deadline: 50, action: { status: 503, retryAfter: 3, body: 'later' } }),
    async (app) => {
      const clients = await fill(app);
      const refused = await Promise.all(Array.from({ length: 5 }, () => app.ask()));
      for (const { outcome, text } of refused) {
        assert.strictEqual(outcome, 'answered');
        assert.match(text, /^HTTP\/1\.1 503 .*\r\nRetry-After: 3\r\n[^]*\r\n\r\nlater$/);
      }
      for (const client of clients) await client.close();
      const { text } = await app.ask();
      assert.match(text, /^(\d hello|HTTP)/);
      const { accepted, passed, returned, reclaimed, handedOver, shed, waiting } = await app.listenerStats();
      assert.strictEqual(accepted + returned + reclaimed + handedOver, passed + shed + waiting);
      assert.ok(shed >= 5);
    },
  ));

test('surplus clients are reset', () =>
  withApp(full({ queue: 0, action: 'reset' }), async (app) => {
    const clients = await fill(app);
    const { outcome, code } = await app.ask();
    assert.deepStrictEqual([outcome, code], ['closed', 'ECONNRESET']);
    for (const client of clients) await client.close();
  }));

test('by default clients wait', () =>
  withApp(full({ queue: 1 }), async (app) => {
    const clients = await fill(app);
    const waiting = Array.from({ length: 20 }, () => app.ask());
    await Promise.all(waiting.map((client) => client.connected));
    for (const client of clients) await client.close();
    for (const { text } of await Promise.all(waiting)) assert.match(text, /^\d hello$/);
    assert.strictEqual('shed' in (await app.listenerStats()), false);
  }));
