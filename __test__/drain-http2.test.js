'use strict';

// The client of an HTTP/2 session is told by GOAWAY that its next requests belong elsewhere. Those that are open are
// answered.

const assert = require('node:assert');
const { once } = require('node:events');
const http2 = require('node:http2');
const { test } = require('node:test');
const { setTimeout: pause } = require('node:timers/promises');
const { isBuiltin } = require('./helpers/subject.js');
const { withLifecycle } = require('./helpers/lifecycle.js');

const skip = isBuiltin && 'the built-in does not drain';
const { NGHTTP2_NO_ERROR } = http2.constants;

/**
 * @param {http2.ClientHttp2Session} session
 * @param {string} [path]
 * @returns {Promise<string>}
 */
function ask(session, path = '/') {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':path': path });
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
    });
    stream.on('error', reject);
    stream.on('close', () => (text ? resolve(text) : reject(new Error('no answer'))));
  });
}

test('open streams are answered, and the session ends', { skip }, () =>
  withLifecycle({ SERVER: 'http2' }, async (app) => {
    const url = `http://${app.target.host}:${app.target.port}`;
    const session = http2.connect(url);
    const id = Number(await ask(session));
    const held = ask(session, '/hold');
    await app.marker('held');
    const goaway = once(session, 'goaway');
    app.tell('retire', { id });
    const [code] = await goaway;
    assert.strictEqual(code, NGHTTP2_NO_ERROR);
    app.tell('tell', { id, command: 'release', url: '/hold' });
    assert.strictEqual(await held, `${id}`);
    assert.strictEqual((await app.marker('exit')).code, 0);
  }),
);

test('an idle session ends', { skip }, () =>
  withLifecycle({ SERVER: 'http2', WORKERS: '1' }, async (app) => {
    const session = http2.connect(`http://${app.target.host}:${app.target.port}`);
    await ask(session);
    const closed = once(session, 'close');
    app.tell('retire', { id: 1 });
    assert.strictEqual((await app.marker('exit')).code, 0);
    await closed;
  }),
);

test('all workers are replaced under load: only what was refused unread is asked again', { skip }, () =>
  withLifecycle({ SERVER: 'http2' }, async (app) => {
    const url = `http://${app.target.host}:${app.target.port}`;
    const failures = [];
    const load = { answered: 0, stopped: false };
    const clients = Promise.all(
      Array.from({ length: 10 }, async () => {
        let session;
        while (!load.stopped) {
          if (!session || session.closed || session.destroyed) {
            session = http2.connect(url);
            session.on('error', (error) => failures.push(`session: ${error.message}`));
          }
          try {
            await ask(session);
            load.answered++;
          } catch (error) {
            // What comes after the last stream that GOAWAY names was not looked at: RFC 9113 says to ask again.
            if (session.closed && /REFUSED_STREAM|GOAWAY/.test(`${error.message} ${error.code}`)) continue;
            failures.push(`${error.code} ${error.message}`);
          }
          await pause(Math.random() * 20);
        }
        session.close();
      }),
    );
    app.tell('roll', { rounds: 1 });
    await app.marker('rolled');
    load.stopped = true;
    await clients;
    assert.deepStrictEqual(failures, []);
    assert.ok(load.answered > 20, `${load.answered} answers`);
  }),
);
