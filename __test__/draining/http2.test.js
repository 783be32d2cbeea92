'use strict';

// GOAWAY tells the client of an HTTP/2 session to send its next requests elsewhere. Open requests are
// answered.

const assert = require('node:assert');
const { once } = require('node:events');
const http2 = require('node:http2');
const { test } = require('node:test');
const { setTimeout: pause } = require('node:timers/promises');
const { isBuiltin } = require('../../testing/subject.js');
const createGoaway = require('../../lib/worker/goaway.js');
const { withLifecycle } = require('../helpers/lifecycle.js');

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

/**
 * A session that ends with its worker. That may be by a reset: the worker may have ended before it has read the last frames of the
 * client, such as acknowledgements. Errors of requests are errors of their streams.
 *
 * @param {string} url
 * @param {http2.SecureClientSessionOptions} [options]
 */
function connect(url, options) {
  return http2.connect(url, options).on('error', () => {});
}

/**
 * Replaces all workers while clients send requests, and checks that none fails.
 *
 * @param {import('../helpers/lifecycle.js').Lifecycle} app
 * @param {number} count
 * @param {(load: { answered: number, stopped: boolean }, failures: string[]) => Promise<void>} client asks until it is
 *   stopped, counts the answers, and notes what has failed
 */
async function loseNothing(app, count, client) {
  /** @type {string[]} */
  const failures = [];
  const load = { answered: 0, stopped: false };
  const clients = Promise.all(Array.from({ length: count }, () => client(load, failures)));
  app.tell('roll', { rounds: 1 });
  await app.marker('rolled');
  load.stopped = true;
  await clients;
  assert.deepStrictEqual(failures, []);
  assert.ok(load.answered > 20, `${load.answered} answers`);
}

test('open streams are answered, and the session ends', { skip }, () =>
  withLifecycle({ SERVER: 'http2' }, async (app) => {
    const url = `http://${app.target.host}:${app.target.port}`;
    const session = connect(url);
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
    const session = connect(`http://${app.target.host}:${app.target.port}`);
    await ask(session);
    const closed = new Promise((resolve) => session.once('close', resolve));
    app.tell('retire', { id: 1 });
    assert.strictEqual((await app.marker('exit')).code, 0);
    await closed;
  }),
);

test(
  'all workers are replaced under load: only requests that were refused unread are repeated',
  { skip },
  () =>
    withLifecycle({ SERVER: 'http2' }, async (app) => {
      const url = `http://${app.target.host}:${app.target.port}`;
      await loseNothing(app, 10, async (load, failures) => {
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
            // Streams after the last one that GOAWAY names were not processed: RFC 9113 says to retry them.
            if (session.closed && /REFUSED_STREAM|GOAWAY/.test(`${error.message} ${error.code}`)) continue;
            failures.push(`${error.code} ${error.message}`);
          }
          await pause(Math.random() * 20);
        }
        session.close();
      });
    }),
);

/** A client that speaks HTTP/2 frame by frame, and ignores GOAWAY. */
class Frames {
  /** @param {{ port: number, host: string }} target */
  constructor(target) {
    this.socket = require('node:net').connect(target);
    this.bytes = Buffer.alloc(0);
    /** @type {{ type: number, flags: number, stream: number, payload: Buffer }[]} */
    this.frames = [];
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
      while (this.bytes.length >= 9 && this.bytes.length >= 9 + this.bytes.readUIntBE(0, 3)) {
        const end = 9 + this.bytes.readUIntBE(0, 3);
        const [type, flags] = [this.bytes[3], this.bytes[4]];
        const stream = this.bytes.readUInt32BE(5);
        this.frames.push({ type, flags, stream, payload: this.bytes.subarray(9, end) });
        this.bytes = this.bytes.subarray(end);
      }
      this.socket.emit('frames');
    });
    this.socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    this.send(SETTINGS, 0, 0);
  }

  /**
   * @param {number} type
   * @param {number} flags
   * @param {number} stream
   * @param {Buffer} [payload]
   */
  send(type, flags, stream, payload = Buffer.alloc(0)) {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    this.socket.write(Buffer.concat([head, payload]));
  }

  /**
   * GET of the path.
   * @param {number} stream
   * @param {string} path
   */
  request(stream, path) {
    const literal = (/** @type {number} */ name, /** @type {string} */ value) =>
      Buffer.from([name, value.length, ...Buffer.from(value)]);
    const headers = Buffer.concat([Buffer.from([0x82, 0x86]), literal(0x04, path), literal(0x01, 'test')]);
    this.send(HEADERS, END_STREAM | END_HEADERS, stream, headers);
  }

  /**
   * Takes the next frame of a type, with one of the flags if there are any.
   * @param {number} type
   * @param {number} [flags]
   */
  async next(type, flags = 0) {
    for (;;) {
      const at = this.frames.findIndex(
        (frame) => frame.type === type && (flags === 0 || (frame.flags & flags) !== 0),
      );
      if (at >= 0) return this.frames.splice(at, 1)[0];
      if (this.socket.destroyed) throw new Error(`no frame of type ${type} before the connection closed`);
      await new Promise((resolve) => {
        this.socket.once('frames', resolve);
        this.socket.once('close', resolve);
      });
    }
  }

  /** @returns {Promise<number>} the stream of the next DATA frame that is not empty */
  async answered() {
    for (;;) {
      const { stream, payload } = await this.next(DATA);
      if (payload.length > 0) return stream;
    }
  }

  /** @returns {Promise<number>} the last stream that the next GOAWAY names */
  async goaway() {
    const { payload } = await this.next(GOAWAY);
    assert.strictEqual(payload.readUInt32BE(4), NGHTTP2_NO_ERROR);
    return payload.readUInt32BE(0);
  }
}

const [DATA, HEADERS, SETTINGS, PING, GOAWAY] = [0, 1, 4, 6, 7];
const [ACK, END_STREAM, END_HEADERS] = [1, 1, 4];

test(
  'streams begun before the client has read the notice are answered: the final GOAWAY follows a round trip later',
  { skip },
  () =>
    withLifecycle({ SERVER: 'http2', WORKERS: '1' }, async (app) => {
      const client = new Frames(app.target);
      await client.next(SETTINGS);
      client.send(SETTINGS, ACK, 0);
      client.request(1, '/hold');
      await app.marker('held');
      app.tell('retire', { id: 1 });
      assert.strictEqual(await client.goaway(), 2 ** 31 - 1);
      const { payload } = await client.next(PING);
      // As if these had been in flight.
      client.request(3, '/');
      assert.strictEqual(await client.answered(), 3);
      client.request(5, '/');
      client.send(PING, ACK, 0, payload);
      assert.strictEqual(await client.answered(), 5);
      assert.strictEqual(await client.goaway(), 5);
      app.tell('tell', { id: 1, command: 'release', url: '/hold' });
      assert.strictEqual(await client.answered(), 1);
      assert.strictEqual((await app.marker('exit')).code, 0);
    }),
);

test('the drain does not wait for a client that does not answer the PING', { skip }, () =>
  withLifecycle({ SERVER: 'http2', WORKERS: '1' }, async (app) => {
    const client = new Frames(app.target);
    await client.next(SETTINGS);
    client.send(SETTINGS, ACK, 0);
    client.request(1, '/');
    await client.next(DATA, END_STREAM);
    app.tell('retire', { id: 1 });
    assert.strictEqual(await client.goaway(), 2 ** 31 - 1);
    await client.next(PING);
    assert.strictEqual(await client.goaway(), 1);
    assert.strictEqual((await app.marker('exit')).code, 0);
  }),
);

test('a session that begins after the drain order is answered as well', { skip }, () =>
  withLifecycle({ SERVER: 'http2' }, async (app) => {
    const clients = Array.from({ length: 4 }, () => new Frames(app.target));
    // Their settings are not acknowledged: the worker does not know whether they have its own.
    for (const client of clients) await client.next(SETTINGS);
    const [{ id }] = app.workers;
    app.tell('retire', { id });
    await app.marker('retiring');
    for (const client of clients) {
      client.request(1, '/');
      assert.strictEqual(await client.answered(), 1);
    }
    assert.strictEqual((await app.marker('exit')).code, 0);
    for (const client of clients) client.socket.destroy();
  }),
);

test('the only GOAWAY of a session with TLS names all requests that have arrived together', { skip }, () =>
  withLifecycle({ SERVER: 'http2s' }, async (app) => {
    const session = connect(`https://${app.target.host}:${app.target.port}`, {
      rejectUnauthorized: false,
    });
    const id = Number(await ask(session));
    app.tell('retire', { id });
    await app.marker('retiring');
    const answers = await Promise.allSettled(['/', '/', '/'].map(async (path) => ask(session, path)));
    // If this process is slow, the GOAWAY has come before them all.
    assert.strictEqual(new Set(answers.map(({ status }) => status)).size, 1, JSON.stringify(answers));
    assert.strictEqual((await app.marker('exit')).code, 0);
  }),
);

test('the application does not see requests that the GOAWAY does not name', { skip }, async (t) => {
  const seen = [];
  const server = http2.createServer().listen(0, '127.0.0.1');
  // The module must take it for a session with TLS; otherwise it would use the socket's descriptor.
  server.on('session', (session) => Object.defineProperty(session, 'encrypted', { value: true }));
  server.on('stream', (stream) => {
    seen.push(stream.id);
    // The others of the batch are not read yet.
    createGoaway(/** @type {any} */ ({}))(stream.session, 1000);
    stream.respond({}, { endStream: false });
    stream.end('answered');
  });
  await once(server, 'listening');
  const session = http2.connect(`http://127.0.0.1:${/** @type {any} */ (server.address()).port}`);
  t.after(() => {
    session.destroy();
    server.close();
  });
  await once(session, 'remoteSettings');
  const answers = await Promise.allSettled(['/', '/', '/'].map((path) => ask(session, path)));
  assert.deepStrictEqual(
    answers.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  );
  assert.deepStrictEqual(seen, [1]);
});

for (const SERVER of ['http2', 'http2s']) {
  test(`clients with one request after another lose nothing: ${SERVER}`, { skip }, () =>
    withLifecycle({ SERVER }, async (app) => {
      const url = `${SERVER === 'http2s' ? 'https' : 'http'}://${app.target.host}:${app.target.port}`;
      await loseNothing(app, 6, async (load, failures) => {
        let session;
        while (!load.stopped) {
          if (!session || session.gone || session.closed) {
            const opened = http2.connect(url, { rejectUnauthorized: false });
            session = opened;
            opened.on('error', (error) => failures.push(`session: ${error.message}`));
            opened.on('goaway', () => {
              opened.gone = true;
              opened.close();
            });
          }
          await ask(session).then(
            () => load.answered++,
            (error) => failures.push(error.message),
          );
        }
        session.close();
      });
    }),
  );
}
