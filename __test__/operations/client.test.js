'use strict';

// The JavaScript client of the control socket, if requests end without an answer.

const assert = require('node:assert');
const { once } = require('node:events');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { within } = require('../../testing/processes.js');
const { withSupervised } = require('../../testing/supervised.js');

const skip = isBuiltin && 'the built-in does not supervise';
const isNode20 = process.versions.node.startsWith('20.');

/** @param {(client: import('../../control').ControlClient, control: string, pid: number) => Promise<void>} body */
async function withClient(body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-client-'));
  const control = path.join(directory, 'rcluster.sock');
  try {
    await withSupervised({ workers: 1, control }, async (app) => {
      const client = await connect({ control });
      try {
        await body(client, control, app.pid);
      } finally {
        client.close();
      }
    });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

test('the answer to stop is sent before the primary exits', { skip }, async () => {
  for (let count = 0; count < 5; count++) await withClient((client) => client.stop());
});

test('close() ends waiting streams, and streams that begin later', { skip }, () =>
  withClient(async (client) => {
    const events = client.events();
    const waiting = events.next();
    const pieces = client.heap(0);
    assert((await pieces.next()).value);
    const later = client.events();
    client.close();
    assert.deepStrictEqual(await within('the end', waiting), { value: undefined, done: true });
    await assert.rejects(within('the end of the pieces', drained(pieces)), {
      code: 'ERR_RCLUSTER_NOT_RUNNING',
    });
    await assert.rejects(within('the end at once', later.next()), { code: 'ERR_RCLUSTER_NOT_RUNNING' });
  }),
);

/** @param {AsyncIterator<unknown>} stream */
async function drained(stream) {
  while (!(await stream.next()).done);
}

test(
  'the abort of a signal ends the connection, and rejects pending requests with its reason',
  { skip },
  () =>
    withClient(async (_client, control, pid) => {
      const controller = new AbortController();
      const client = await connect({ control, signal: controller.signal });
      const waiting = client.events().next();
      const reason = new Error('mine');
      process.kill(pid, 'SIGSTOP');
      try {
        const status = client.status();
        controller.abort(reason);
        await assert.rejects(within('the answer', status), reason);
        await assert.rejects(client.status(), reason);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      // Its connection was being established, or was open.
      await within(
        'the end of the events',
        waiting.catch((error) => assert.strictEqual(error.name, 'AbortError')),
      );
      await assert.rejects(connect({ control, signal: AbortSignal.abort(reason) }), reason);
    }),
);

test('an error thrown by onEvent rejects its request and no other', { skip }, () =>
  withClient(async (client) => {
    const mine = new Error('mine');
    const onEvent = () => {
      throw mine;
    };
    const [restarted, status] = await Promise.allSettled([client.restart(0, { onEvent }), client.status()]);
    assert.deepStrictEqual(
      [restarted.status, restarted.reason, status.status],
      ['rejected', mine, 'fulfilled'],
    );
    await client.hello();
  }),
);

/**
 * Sets the variables that say where the control socket may be.
 * @param {{ RUNTIME_DIRECTORY: string, XDG_RUNTIME_DIR: string }} places
 * @param {() => Promise<void>} body
 */
async function withPlaces(places, body) {
  const before = { ...process.env };
  Object.assign(process.env, places);
  try {
    await body();
  } finally {
    for (const name of Object.keys(places)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
}

test('a process id never leads to another cluster, and one without a cluster is refused', { skip }, () =>
  withClient(async (_client, control, pid) => {
    const directory = path.dirname(control);
    await withPlaces({ RUNTIME_DIRECTORY: directory, XDG_RUNTIME_DIR: directory }, async () => {
      (await connect({ pid })).close();
      await assert.rejects(connect({ pid: process.pid }), {
        code: 'ERR_RCLUSTER_NOT_RUNNING',
        message: /^No cluster listens at .* or @rcluster\/.* or /,
      });
    });
    await assert.rejects(connect({ control: '@nothing/listens' }), {
      code: 'ERR_RCLUSTER_NOT_RUNNING',
      message: 'No cluster listens at @nothing/listens',
    });
  }),
);

test('Node 20 is the reason only if a cluster listens at an abstract name', { skip }, async () => {
  const nowhere = { RUNTIME_DIRECTORY: '', XDG_RUNTIME_DIR: '' };
  await withSupervised(
    { workers: 1 },
    ({ pid }) =>
      // The last place that is tried has no socket.
      withPlaces({ ...nowhere, RUNTIME_DIRECTORY: '/nowhere' }, async () => {
        const code = await connect({ pid }).then(
          (client) => client.close(),
          (error) => error.code,
        );
        assert.strictEqual(code, isNode20 ? 'ERR_RCLUSTER_UNSUPPORTED_NODE' : undefined);
      }),
    { env: nowhere },
  );
});

test('without an address, the error says what a worker can pass', async () => {
  for (const options of /** @type {any[]} */ ([undefined, {}, { pid: '1' }, { control: 5 }])) {
    await assert.rejects(connect(options), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message: /process\.ppid in a worker$/,
    });
  }
});

test('an unknown option and options that are no object are refused, by each method', { skip }, () =>
  withClient(async (client, control) => {
    const unknown = { code: 'ERR_INVALID_ARG_VALUE', name: 'TypeError' };
    const calls = /** @type {[any, string, (options: any) => Promise<unknown>][]} */ ([
      [{ control, sigal: null }, 'signal', connect],
      [{ onevent: null }, 'onEvent', (options) => client.scale(1, options)],
      [{ concurency: 2 }, 'concurrency', (options) => client.reload(options)],
      [{ onEvents: null }, 'onEvent', (options) => client.restart(0, options)],
      [{ onEvnt: null }, 'onEvent', (options) => client.drain(0, options)],
      [{ duraton: 1 }, 'duration', (options) => client.profile(0, options)],
      [{ of: true }, 'off', (options) => client.inspect(0, options)],
      [{ timeOut: 1 }, 'timeout', (options) => client.stop(options)],
      [{ line: 1 }, 'lines', (options) => client.logs(options)],
      [{ onlost: null }, 'onLost', (options) => client.followLogs(options).next()],
    ]);
    for (const [options, meant, call] of calls) {
      const message = new RegExp(`'options\\.${Object.keys(options).at(-1)}'.* Did you mean "${meant}"\\?`);
      await assert.rejects(call(options), { ...unknown, message });
      for (const value of [null, 5, []]) {
        await assert.rejects(call(value), { code: 'ERR_INVALID_ARG_TYPE', name: 'TypeError' });
      }
    }
  }),
);

for (const line of ['HTTP/1.1 400 Bad Request', 'null', '{"id":null}', '{"id":1,"ok":false}', '{"id":1,"o']) {
  test(`a program that answers ${line}`, async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-client-'));
    const control = path.join(directory, 'other.sock');
    const server = net.createServer((socket) => socket.on('data', () => socket.write(`${line}\n`)));
    try {
      server.listen(control);
      await once(server, 'listening');
      const client = await connect({ control });
      const requests = [client.status(), client.scale(2), client.events().next()];
      for (const { status, reason } of await within('the ends', Promise.allSettled(requests))) {
        assert.deepStrictEqual([status, reason?.code], ['rejected', 'ERR_RCLUSTER_NOT_RUNNING']);
        assert.match(reason.message, /other\.sock/);
      }
      await assert.rejects(client.status(), { code: 'ERR_RCLUSTER_NOT_RUNNING' });
      client.close();
    } finally {
      server.close();
      fs.rmSync(directory, { recursive: true });
    }
  });
}
