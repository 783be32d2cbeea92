'use strict';

// The request of an exception is known, wherever the code that serves it runs: that request is answered with 500, and
// another one of the same worker is finished.

const assert = require('node:assert');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { text } = require('node:stream/consumers');
const { test } = require('node:test');
const { get, hold } = require('../../testing/clients.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withSupervised } = require('../../testing/supervised.js');
const { PLACES } = require('../fixtures/supervision/attribution.js');

const SCRIPT = path.join(__dirname, '..', 'fixtures', 'supervision', 'attribution.js');
const FORM = '--boundary\r\n\r\none\r\n--boundary\r\n\r\ntwo\r\n--boundary--';

/** The places whose exceptions a framework does not catch. */
const LATER = ['a timer', 'a callback of fs', 'the end of the request', 'a pipeline', 'a part of a form'];

/**
 * @param {{ port: number, host: string }} target
 * @param {string} place
 * @returns {Promise<{ status: number, text: string }>}
 */
async function ask(target, place) {
  const headers = { 'content-type': 'multipart/form-data; boundary=boundary' };
  const to = { ...target, path: `/${encodeURIComponent(place)}`, method: 'POST', headers };
  const { status, body } = await get(to, FORM);
  return { status, text: body };
}

/**
 * @param {string} framework
 * @param {string} place
 * @param {Record<string, string>} [env]
 */
function finds(framework, place, env = {}) {
  const options = { workers: 1, drainTimeout: 60_000 };
  return withSupervised(
    options,
    async (app) => {
      const held = ask(app.target, 'held');
      await app.marker('held');
      const guilty = await ask(app.target, place);
      assert.deepStrictEqual(guilty, { status: 500, text: '' });
      assert.deepStrictEqual(await held, { status: 200, text: 'held' });
      const { code, exitedAfterDisconnect } = await app.marker('exit');
      assert.deepStrictEqual({ code, exitedAfterDisconnect }, { code: 1, exitedAfterDisconnect: true });
      await app.written(/Error: thrown in /);
    },
    { env: { SCRIPT, FRAMEWORK: framework, ...env } },
  );
}

const skip = isBuiltin && 'the built-in dies of it';
// Before Node 24, the context of a microtask has been left when its exception is reported: then it is not attributed.
const knowsMicrotasks = Number(process.versions.node.split('.')[0]) >= 24;
for (const place of PLACES) {
  const unknown = place === 'a microtask' && !knowsMicrotasks && 'this Node does not tell';
  test(`thrown in ${place}`, { skip: skip || unknown }, () => finds('http', place));
}

for (const place of ['a listener of a channel', 'a handler of notices']) {
  test(`thrown in ${place}, after another request was the first user`, { skip }, () =>
    finds('http', place, { USES_ALL: '1' }),
  );
}

test('thrown in a listener of a store: no request is answered with 500', { skip }, () =>
  withSupervised(
    { workers: 1, drainTimeout: 60_000 },
    async (app) => {
      const held = ask(app.target, 'held');
      await app.marker('held');
      const guilty = hold(app.target);
      guilty.socket.write('GET /store HTTP/1.1\r\nHost: test\r\n\r\n');
      assert.deepStrictEqual(await held, { status: 200, text: 'held' });
      await guilty.close();
      assert.strictEqual((await app.marker('exit')).code, 1);
      await assert.rejects(guilty.text, { message: /closed/ });
    },
    { env: { SCRIPT, USES_ALL: '1' } },
  ),
);

test('thrown while the class of requests cannot be changed', { skip }, () =>
  finds('http', 'handler', { FROZEN: '1' }),
);

/**
 * Sends requests for these places together, on one connection, and checks the parts of the answers that match.
 * @param {string[]} places
 * @param {RegExp} pattern
 * @param {string[]} expected
 */
function answersInOrder(places, pattern, expected) {
  return withSupervised(
    { workers: 1, drainTimeout: 60_000 },
    async (app) => {
      const socket = net.connect(app.target);
      const requests = places.map(
        (place) => `GET /${encodeURIComponent(place)} HTTP/1.1\r\nHost: test\r\n\r\n`,
      );
      socket.write(requests.join(''));
      const answers = (await text(socket)).replaceAll(/^Date: .*GMT/gm, 'Date: now');
      assert.deepStrictEqual(answers.match(pattern), expected);
    },
    { env: { SCRIPT } },
  );
}

test('pipelined requests behind a failed one are answered', { skip }, () =>
  answersInOrder(['a timer', 'held'], /^HTTP\/1.1 \d+|^Connection: .*|held$/gm, [
    'HTTP/1.1 500',
    'Connection: keep-alive',
    'HTTP/1.1 200',
    'Connection: close',
    'held',
  ]),
);

test(
  'the answer to the last pipelined request behind a failed one closes the connection before the drain',
  { skip },
  () =>
    answersInOrder(['a timer', 'following'], /^HTTP\/1.1 \d+|^Connection: .*|following$/gm, [
      'HTTP/1.1 500',
      'Connection: keep-alive',
      'HTTP/1.1 200',
      'Connection: close',
      'following',
    ]),
);

for (const [what, more] of Object.entries({
  'a request': 'GET /held HTTP/1.1\r\nHost: test\r\n\r\n',
  'the rest of its body': 'more',
})) {
  test(`${what} behind a handler that has thrown does not replace an earlier answer`, { skip }, () =>
    withSupervised(
      { workers: 1, drainTimeout: 60_000 },
      async (app) => {
        const socket = net.connect(app.target);
        const length = more === 'more' ? 'Content-Length: 4\r\n' : '';
        socket.write(
          'GET /more HTTP/1.1\r\nHost: test\r\n\r\n' +
            `POST /handler HTTP/1.1\r\nHost: test\r\n${length}\r\n`,
        );
        const answers = text(socket);
        await app.marker('retire');
        socket.write(more);
        assert.deepStrictEqual((await answers).match(/HTTP\/1.1 \d+|more|^Connection: .*/gm), [
          'HTTP/1.1 200',
          'Connection: keep-alive',
          'more',
          'HTTP/1.1 500',
          'Connection: close',
        ]);
      },
      { env: { SCRIPT } },
    ),
  );
}

test('a request that fails behind an unfinished one of its connection is answered after it', { skip }, () =>
  answersInOrder(['held', 'a timer'], /HTTP\/1.1 \d+|^Connection: .*|held/gm, [
    'HTTP/1.1 200',
    'Connection: keep-alive',
    'held',
    'HTTP/1.1 500',
    'Connection: close',
  ]),
);

test('a handler that has answered loses its connection, whose parser is aborted', { skip }, () =>
  withSupervised(
    { workers: 1, drainTimeout: 60_000 },
    async (app) => {
      const socket = net.connect(app.target);
      let answers = '';
      socket.on('data', (data) => {
        // The next request comes on its own, as from a client that keeps its connection.
        if (answers === '') socket.write('GET /held HTTP/1.1\r\nHost: test\r\n\r\n');
        answers += data;
      });
      // The connection may be gone before that request arrives.
      socket.on('error', ({ code }) => assert.match(code, /^(ECONNRESET|EPIPE)$/));
      socket.write('GET /answered HTTP/1.1\r\nHost: test\r\n\r\n');
      await once(socket, 'close');
      assert.deepStrictEqual(answers.match(/HTTP\/1.1 \d+|answered$/gm), ['HTTP/1.1 200', 'answered']);
      await app.marker('exit');
    },
    { env: { SCRIPT } },
  ),
);

test('an answer that fails has none of the headers that the app has set', { skip }, () =>
  answersInOrder(['a handler with headers'], /HTTP\/1.1 \d+|^Connection: .*|^Date: .*/gm, [
    'HTTP/1.1 500',
    'Connection: close',
    'Date: now',
  ]),
);

for (const framework of ['express', 'fastify']) {
  const installed = fs.existsSync(path.join(__dirname, '..', 'ecosystem', 'node_modules', framework));
  for (const place of LATER) {
    test(
      `thrown in ${place}, with ${framework}`,
      { skip: skip || (!installed && 'it is not installed') },
      () => finds(framework, place),
    );
  }
}
