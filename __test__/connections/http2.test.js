'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const http2 = require('node:http2');
const { text } = require('node:stream/consumers');
const { test } = require('node:test');
const { withProgram, certificate, askAll } = require('../helpers/programs.js');

test('a program with an HTTP/2 server', () =>
  withProgram('http2', async ({ port, host }, pids) => {
    await askAll(pids, async () => {
      const session = http2.connect(`https://${host}:${port}`, { ca: certificate });
      // A large body and several streams in one session.
      const streams = Array.from({ length: 5 }, () =>
        session.request({ ':method': 'POST' }).end('x'.repeat(100_000)),
      );
      const bodies = await Promise.all(
        streams.map(async (stream) => {
          const [headers] = await once(stream, 'response');
          assert.strictEqual(headers[':status'], 200);
          return text(stream);
        }),
      );
      assert.strictEqual(new Set(bodies).size, 1);
      session.close();
      await once(session, 'close');
      return Number(bodies[0].replace('Hello from ', ''));
    });
  }));
