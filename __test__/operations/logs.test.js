'use strict';

// The output of workers: whole lines, in every mode, even without a reader; and the last lines of a worker
// that has ended.

const assert = require('node:assert');
const { spawn, execFileSync } = require('node:child_process');
const { once, on } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { until, isAlive } = require('../../testing/processes.js');

const skip = isBuiltin && 'the built-in does not supervise';
const WRITER = path.join(__dirname, '..', 'fixtures', 'operations', 'writer.js');

/**
 * @typedef {object} Writers A cluster of workers that write.
 * @property {import('node:child_process').ChildProcess} primary
 * @property {string} directory
 * @property {string} control its control socket
 * @property {() => string} stdout the output so far
 * @property {() => string} stderr
 * @property {(message: any) => void} tell
 * @property {(wanted: (message: any) => unknown) => Promise<any>} message the next message that matches
 * @property {() => Promise<any>} stats
 */

/**
 * @param {Record<string, unknown>} options of supervise()
 * @param {(app: Writers) => Promise<void>} body
 * @param {{ env?: Record<string, string>, stdio?: (directory: string) => any[] | Promise<any[]>, ready?: boolean }} [more]
 */
async function withWriters(options, body, { env = {}, stdio, ready = true } = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-logs-'));
  const control = path.join(directory, 'c.sock');
  const file = (/** @type {string} */ name) => path.join(directory, name);
  for (const name of ['stdout', 'stderr']) fs.writeFileSync(file(name), '');
  const [out, err] = (await stdio?.(directory)) ?? [];
  const streams = [out ?? fs.openSync(file('stdout'), 'a'), err ?? fs.openSync(file('stderr'), 'a')];
  const environment = { ...process.env, ...env, OPTIONS: JSON.stringify({ control, ...options }) };
  delete environment.NODE_TEST_CONTEXT;
  const primary = spawn(process.execPath, [WRITER], {
    env: environment,
    stdio: ['ignore', ...streams, 'ipc'],
  });
  for (const fd of streams) fs.closeSync(fd);
  // Not at its exit, when its last messages may not have been read.
  const ended = once(primary, 'close');
  const queue = on(primary, 'message');
  /** @type {any[]} messages that have not been waited for so far */
  const kept = [];
  const app = {
    primary,
    directory,
    control,
    stdout: () => fs.readFileSync(file('stdout'), 'utf8'),
    stderr: () => fs.readFileSync(file('stderr'), 'utf8'),
    tell: (/** @type {any} */ message) => void primary.send(message),
    async message(/** @type {(message: any) => unknown} */ wanted) {
      const index = kept.findIndex(wanted);
      if (index >= 0) return kept.splice(index, 1)[0];
      for (;;) {
        const { value } = await Promise.race([
          queue.next(),
          ended.then((end) => {
            throw new Error(`the primary has ended with ${end}: ${app.stderr()}`);
          }),
        ]);
        if (wanted(value[0])) return value[0];
        kept.push(value[0]);
      }
    },
    async stats() {
      app.tell('stats');
      return (await app.message((message) => message.stats)).stats;
    },
  };
  try {
    if (ready) {
      for (let slot = 0; slot < Number(options.workers); slot++) {
        await app.message(({ event, slot: which }) => event === 'ready' && which === slot);
      }
    }
    await body(app);
  } finally {
    primary.kill('SIGKILL');
    await ended;
    fs.rmSync(directory, { recursive: true });
  }
}

/**
 * The same with a pipe for stdout that `cat` copies to the file. Both ends are opened at the same time.
 * @param {Record<string, unknown>} options
 * @param {(app: Writers, reader: import('node:child_process').ChildProcess) => Promise<void>} body
 */
function withReader(options, body) {
  /** @type {import('node:child_process').ChildProcess} */
  let reader;
  const stdio = (/** @type {string} */ directory) => {
    const fifo = path.join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const to = fs.openSync(path.join(directory, 'stdout'), 'a');
    reader = spawn('cat', [fifo], { stdio: ['ignore', to, 'inherit'] });
    fs.closeSync(to);
    return [fs.openSync(fifo, fs.constants.O_WRONLY)];
  };
  return withWriters(options, (app) => body(app, reader), { stdio });
}

const SIZE = 100;

/** The lines of a flood by slot. Fails if a line is incomplete, or out of order. */
function floods(/** @type {string} */ text, strip = (/** @type {string} */ line) => line) {
  const counts = new Map();
  for (const line of text.split('\n').slice(0, -1).map(strip)) {
    const found = /^flood (\d+) (\d+)\.+$/.exec(line);
    if (found === null) {
      assert.match(line, /^rcluster: \d+ lines \(\d+ bytes\) are missing here/);
      continue;
    }
    const [, slot, number] = found;
    const { last = -1, count = 0 } = counts.get(slot) ?? {};
    assert.strictEqual(line.length, SIZE - 1);
    assert.ok(Number(number) > last, `${number} behind ${last}`);
    counts.set(slot, { last: Number(number), count: count + 1 });
  }
  return counts;
}

test(
  'lines of four workers are complete and none is lost, in each mode and through a pipe',
  { skip },
  async () => {
    const strips = {
      raw: (/** @type {string} */ line) => line,
      prefix: (/** @type {string} */ line) => line.replace(/^\[slot \d\] /, ''),
      json: (/** @type {string} */ line) => JSON.parse(line).message,
    };
    const count = 25_000;
    for (const [logs, strip] of Object.entries(strips)) {
      await withReader({ workers: 4, logs }, async (app, reader) => {
        const read = once(reader, 'exit');
        for (let slot = 0; slot < 4; slot++) {
          app.tell({ slot, act: 'flood', to: 'stdout', count, size: SIZE });
        }
        for (let slot = 0; slot < 4; slot++) await app.message(({ flooded }) => flooded === slot);
        app.tell('shutdown');
        await read;
        const counts = floods(app.stdout(), strip);
        assert.deepStrictEqual(
          [...counts.values()].map(({ count: lines }) => lines),
          [count, count, count, count],
          logs,
        );
      });
    }
  },
);

test('lines are written while the JavaScript of the primary is blocked', { skip }, () =>
  withWriters({ workers: 1, logs: 'prefix' }, async (app) => {
    const go = path.join(app.directory, 'go');
    app.tell({ slot: 0, act: 'tick' });
    app.tell({ block: go });
    const client = await connect({ control: app.control });
    // The stack of a primary that waits for events cannot be captured.
    await until('it is blocked', () =>
      client.stack('primary').then(
        (stack) => /writer\.js/.test(stack),
        () => false,
      ),
    );
    const lines = () => app.stdout().split('\n').length;
    const before = lines();
    await until('more are written', () => lines() > before + 20);
    assert.match(await client.stack('primary'), /writer\.js/);
    client.close();
    fs.writeFileSync(go, '');
    assert.ok((await app.stats()).logs.lines > before);
  }),
);

test(
  'JSON objects get fields and never a prefix, other lines are prefixed or wrapped',
  { skip },
  async () => {
    const object = '{"level":30,"msg":"a \\u00fc","slot":"own","n":1.50}';
    for (const logs of ['prefix', 'json']) {
      await withWriters({ workers: 1, logs }, async (app) => {
        const before = Date.now();
        app.tell({ slot: 0, act: 'write', to: 'stdout', text: `${object}\nplain\n{not json}\n` });
        await until('it is written', () => app.stdout().split('\n').length === 4);
        const [first, ...others] = app.stdout().split('\n');
        assert.ok(first.endsWith(object.slice(1)), first);
        const { worker, stream, time, slot } = JSON.parse(first);
        assert.deepStrictEqual([worker, stream, slot], [1, 'stdout', 'own']);
        assert.ok(time >= before && time <= Date.now());
        if (logs === 'prefix') {
          assert.deepStrictEqual(others, ['[slot 0] plain', '[slot 0] {not json}', '']);
        } else {
          const messages = others.slice(0, 2).map((line) => JSON.parse(line));
          assert.deepStrictEqual(
            messages.map((message) => [message.message, message.slot, message.worker]),
            [
              ['plain', 0, 1],
              ['{not json}', 0, 1],
            ],
          );
        }
      });
    }
  },
);

test('bytes are unchanged, wherever reads end, and a line that is too long is cut and marked', { skip }, () =>
  withWriters({ workers: 1, logs: 'raw' }, async (app) => {
    const file = path.join(app.directory, 'stdout');
    const binary = Buffer.from(Array.from({ length: 256 }, (_, byte) => (byte === 10 ? 0 : byte)));
    const euro = Buffer.from('€');
    const send = (/** @type {Buffer} */ bytes) => {
      app.tell({ slot: 0, act: 'write', to: 'stdout', text: bytes.toString('base64'), encoding: 'base64' });
    };
    send(euro.subarray(0, 1));
    send(euro.subarray(1));
    send(Buffer.concat([binary, Buffer.from('\n')]));
    const first = Buffer.concat([euro, binary, Buffer.from('\n')]);
    await until('it is written', () => fs.statSync(file).size === first.length);
    assert.ok(fs.readFileSync(file).equals(first));

    const long = 'é'.repeat(2 ** 19);
    send(Buffer.from(`${long}\nnext\n`));
    await until('it is written', () => app.stdout().endsWith('next\n'));
    const pieces = fs.readFileSync(file).subarray(first.length).toString().split('\n');
    assert.strictEqual(pieces.length, 6);
    for (const piece of pieces.slice(0, 3)) assert.match(piece, /^é+ \[continues\]$/);
    assert.strictEqual(pieces.slice(0, 4).join('').replaceAll(' [continues]', ''), long);
  }),
);

test('the output of a killed worker is read, and its last line gets a newline', { skip }, () =>
  withWriters({ workers: 2, logs: 'prefix' }, async (app) => {
    app.tell({ slot: 0, act: 'write', to: 'stderr', text: 'one\nin the middle of' });
    app.tell({ slot: 0, act: 'write', to: 'stdout', text: 'half' });
    app.tell({ slot: 0, act: 'kill', signal: 'SIGKILL' });
    const restart = await app.message(({ event }) => event === 'restart');
    assert.deepStrictEqual(restart.stderrTail, ['one', 'in the middle of']);
    assert.deepStrictEqual([restart.signal, restart.phase], ['SIGKILL', 'service']);
    app.tell({ slot: 1, act: 'write', to: 'stdout', text: 'other\n' });
    await until('it is written', () => app.stdout().includes('other'));
    assert.strictEqual(app.stdout(), '[slot 0] half\n[slot 1] other\n');
    await until('that is, too', () => app.stderr().includes('in the middle of'));
    assert.match(app.stderr(), /^\[slot 0\] one\n\[slot 0\] in the middle of\n/m);
    const { lastExit } = (await app.stats()).slots[0];
    const { reason, detail, signal, stderrTail } = lastExit;
    assert.deepStrictEqual(
      [reason, detail, signal, stderrTail],
      ['signal', 'it ended by SIGKILL', 'SIGKILL', ['one', 'in the middle of']],
    );
  }),
);

test('processes that outlive their worker keep the pipe, and block nothing', { skip }, () =>
  withWriters({ workers: 1, logs: 'prefix' }, async (app) => {
    const code = `process.send('here'); process.on('disconnect', () => {}); setInterval(() => {}, 1e6);
      process.on('SIGUSR2', () => { console.log('the child speaks'); process.exit(); });`;
    const children = [];
    try {
      for (let round = 0; round < 3; round++) {
        app.tell({ slot: 0, act: 'child', code });
        children.push((await app.message(({ child }) => child)).child);
        app.tell({ slot: 0, act: 'kill', signal: 'SIGKILL' });
        await app.message(({ event }) => event === 'restart');
        await app.message(({ event }) => event === 'ready');
      }
      for (const pid of children) process.kill(pid, 'SIGUSR2');
      await until('they are heard', () => app.stdout().split('\n').length === 4);
      assert.strictEqual(app.stdout(), '[slot 0] the child speaks\n'.repeat(3));
    } finally {
      for (const pid of children) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    }
  }),
);

test('a stopped reader blocks no process: whole lines are dropped, counted and reported', { skip }, () =>
  withReader({ workers: 2, logs: 'raw' }, async (app, cat) => {
    const { port } = await app.message(({ event }) => event === 'listening');
    cat.kill('SIGSTOP');
    const count = 60_000;
    for (let slot = 0; slot < 2; slot++) app.tell({ slot, act: 'flood', to: 'stdout', count, size: SIZE });
    // Each worker has written everything, although nothing reads it.
    for (let slot = 0; slot < 2; slot++) await app.message(({ flooded }) => flooded === slot);
    const [response] = await once(http.get({ port, host: '127.0.0.1' }), 'response');
    assert.strictEqual(response.statusCode, 200);
    response.resume();
    const lost = await until('lines are lost', async () => {
      const { logs } = await app.stats();
      return logs.lines === 2 * count && logs.lostStdout.lines > 0 && logs.lostStdout.lines;
    });
    const read = once(cat, 'exit');
    cat.kill('SIGCONT');
    app.tell('shutdown');
    await read;
    const text = app.stdout();
    const missing = [...text.matchAll(/^rcluster: (\d+) lines/gm)].map(([, lines]) => Number(lines));
    const told = missing.reduce((sum, lines) => sum + lines, 0);
    assert.strictEqual(told, lost);
    const written = [...floods(text).values()].reduce((sum, { count: lines }) => sum + lines, 0);
    assert.strictEqual(written + told, 2 * count);
  }),
);

for (const logs of ['raw', 'json']) {
  test(`a closed reader of ${logs} lines blocks no process, and the lost lines are counted`, { skip }, () =>
    withReader({ workers: 1, logs }, async (app, cat) => {
      const exit = once(cat, 'exit');
      cat.kill('SIGKILL');
      await exit;
      app.tell({ slot: 0, act: 'flood', to: 'stdout', count: 50_000, size: SIZE });
      await app.message(({ flooded }) => flooded === 0);
      const { logs, slots } = await until('all lines have been read', async () => {
        const stats = await app.stats();
        return stats.logs.lines === 50_000 && stats;
      });
      assert.deepStrictEqual(logs.lostStdout, { lines: 50_000, bytes: 50_000 * SIZE });
      assert.strictEqual(slots[0].restarts, 0);
    }),
  );
}

test('the output of workers is written before the primary exits', { skip }, () =>
  withWriters({ workers: 1, logs: 'prefix' }, async (app) => {
    const ended = once(app.primary, 'exit');
    app.tell({ slot: 0, act: 'flood', to: 'stdout', count: 5000, size: SIZE });
    await app.message(({ flooded }) => flooded === 0);
    app.tell('exit');
    assert.deepStrictEqual(await ended, [3, null]);
    const counts = floods(app.stdout(), (line) => line.replace('[slot 0] ', ''));
    assert.strictEqual(counts.get('0').count, 5000);
  }),
);

test('by default stdout is inherited, and stderr goes through the primary', { skip }, () =>
  withWriters({ workers: 1 }, async (app) => {
    app.tell({ slot: 0, act: 'write', to: 'stdout', text: 'no end' });
    await until('it is written at once', () => app.stdout() === 'no end');
    app.tell({ slot: 0, act: 'write', to: 'stderr', text: 'no end' });
    app.tell({ slot: 0, act: 'write', to: 'stderr', text: ', now\n' });
    await until('it is written', () => app.stderr() === 'no end, now\n');
    assert.strictEqual((await app.stats()).logs.mode, 'auto');
  }),
);

test('with inherit, and with silent, streams are unchanged', { skip }, async () => {
  await withWriters({ workers: 1, logs: 'inherit' }, async (app) => {
    app.tell({ slot: 0, act: 'write', to: 'stderr', text: 'no end' });
    await until('it is written at once', () => app.stderr() === 'no end');
    app.tell({ slot: 0, act: 'kill', signal: 'SIGKILL' });
    assert.strictEqual((await app.message(({ event }) => event === 'restart')).stderrTail, null);
    const { logs, slots } = await app.stats();
    assert.deepStrictEqual([logs, slots[0].lastExit.stderrTail], [null, null]);
    const client = await connect({ control: app.control });
    await assert.rejects(client.logs(), { code: 'ERR_RCLUSTER_NO_LOGS' });
    client.close();
  });
  const env = { SETTINGS: '{"silent":true}' };
  await withWriters(
    { workers: 1, logs: 'prefix' },
    async (app) => {
      app.tell({ slot: 0, act: 'write', to: 'stdout', text: 'unheard\n' });
      app.tell({ slot: 0, act: 'kill', signal: 'SIGKILL' });
      assert.strictEqual((await app.message(({ event }) => event === 'restart')).stderrTail, null);
      assert.strictEqual(app.stdout(), '');
    },
    { env },
  );
});

test('under a terminal, workers inherit the terminal, unless a mode requires a pipe', { skip }, async () => {
  for (const [logs, expected] of /** @type {const} */ ([
    ['auto', 'true true'],
    ['prefix', 'undefined undefined'],
  ])) {
    const app = `
      const cluster = require(${JSON.stringify(path.join(__dirname, '..', '..'))});
      if (cluster.isPrimary) {
        cluster.supervise({ workers: 1, logs: '${logs}', ready: 'online', restart: 'never', control: 'off' });
      } else {
        console.log('isTTY: ' + process.stdout.isTTY + ' ' + process.stderr.isTTY);
        process.exit();
      }`;
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-tty-'));
    const file = path.join(directory, 'app.js');
    fs.writeFileSync(file, app);
    try {
      const command = `${JSON.stringify(process.execPath)} ${JSON.stringify(file)}`;
      const text = execFileSync('script', ['-qec', command, '/dev/null'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      assert.match(text, new RegExp(`isTTY: ${expected}`));
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
  }
});

test(
  'events, the status and the error of the reload contain the output of a worker that cannot start',
  { skip },
  () =>
    withWriters({ workers: 1, log: false }, async (app) => {
      app.tell({ slot: 0, act: 'throw' });
      await app.message(({ event }) => event === 'ready');
      // The new worker may be ready before the old one has drained.
      const thrown = await until('the old one is gone', async () => (await app.stats()).slots[0].lastExit);
      assert.strictEqual(thrown.reason, 'exception');
      assert.match(thrown.stderrTail.join('\n'), /Error: thrown on purpose\n +at /);

      app.tell({ environment: { FAIL: 'as it should' } });
      app.tell('reload');
      const failed = await app.message(({ event, phase }) => event === 'reload' && phase === 'failed');
      const { failed: error } = await app.message((message) => message.failed);
      for (const tail of [failed.stderrTail, error.stderrTail]) {
        assert.strictEqual(tail[0], 'will fail: as it should');
        assert.match(tail.join('\n'), /Error: cannot start/);
      }
      assert.strictEqual(error.code, 'ERR_RCLUSTER_NOT_READY');
      const written = () => app.stderr().match(/will fail: as it should/g)?.length ?? 0;
      await until('it is on the terminal', () => written() > 0);

      const client = await connect({ control: app.control });
      await assert.rejects(client.reload(), ({ code, stderrTail }) => {
        assert.strictEqual(code, 'ERR_RCLUSTER_NOT_READY');
        return stderrTail[0] === 'will fail: as it should';
      });
      await until('the second one is, too', () => written() > 1);
      const ended = once(app.primary, 'close');
      app.tell('shutdown');
      await ended;
      assert.strictEqual(written(), 2, 'each is on the terminal once');
      client.close();
    }),
);

test('a slot that is given up reports the last lines of its worker', { skip }, () =>
  withWriters(
    { workers: 1, log: false, onGiveUp: 'degrade', restartIntensity: { max: 0 } },
    async (app) => {
      const gaveUp = await app.message(({ event }) => event === 'gave-up');
      assert.strictEqual(gaveUp.stderrTail[0], 'will fail: from the start');
      assert.strictEqual(gaveUp.phase, 'start-up');
    },
    { env: { FAIL: 'from the start' }, ready: false },
  ),
);

test('the report of a worker that is not ready in time has its output so far', { skip }, () =>
  withWriters(
    { workers: 1, log: false, ready: 'explicit', readyTimeout: 3000 },
    async (app) => {
      const restart = await app.message(({ event }) => event === 'restart');
      assert.deepStrictEqual(restart.stderrTail, ['waiting for the database']);
      assert.match(restart.reason, /: it has not called cluster\.worker\.ready\(\)$/);
    },
    { env: { SAY: 'waiting for the database' }, ready: false },
  ),
);

test('at most 50 lines are kept, limited in bytes', { skip }, () =>
  withWriters({ workers: 1 }, async (app) => {
    app.tell({ slot: 0, act: 'flood', to: 'stderr', count: 1000, size: SIZE });
    await app.message(({ flooded }) => flooded === 0);
    app.tell({ slot: 0, act: 'write', to: 'stderr', text: `${'x'.repeat(5000)}\n` });
    app.tell({ slot: 0, act: 'kill', signal: 'SIGTERM' });
    await app.message(({ event }) => event === 'ready');
    const { stderrTail } = await until('it has ended', async () => (await app.stats()).slots[0].lastExit);
    assert.strictEqual(stderrTail.length, 50);
    assert.match(stderrTail[48], /^flood 0 999\./);
    assert.strictEqual(stderrTail[49], 'x'.repeat(1024));
  }),
);

test('the control socket returns the last lines, and new lines', { skip }, () =>
  withWriters({ workers: 2, logs: 'prefix' }, async (app) => {
    for (const slot of [0, 1]) {
      app.tell({ slot, act: 'write', to: 'stdout', text: `out ${slot}\n` });
      app.tell({ slot, act: 'write', to: 'stderr', text: `err ${slot}\n` });
    }
    const client = await connect({ control: app.control });
    const lines = await until('all are there', async () => {
      const found = await client.logs();
      return found.length === 4 && found;
    });
    assert.deepStrictEqual(lines.map(({ text }) => text).sort(), ['err 0', 'err 1', 'out 0', 'out 1']);
    for (const { text, slot, stream, worker, time } of lines) {
      assert.strictEqual(text, `${stream.slice(3)} ${slot}`);
      assert.ok(worker > 0 && time <= Date.now());
    }
    assert.deepStrictEqual(
      (await client.logs({ slot: 1, lines: 5 })).map(({ slot }) => slot),
      [1, 1],
    );
    assert.strictEqual((await client.logs({ lines: 3 })).length, 3);
    await assert.rejects(client.logs({ slot: 2 }), { code: 'ERR_RCLUSTER_NO_SLOT' });

    const followed = client.followLogs({ slot: 0, lines: 1 });
    const first = await followed.next();
    assert.strictEqual(first.value?.slot, 0);
    app.tell({ slot: 1, act: 'write', to: 'stdout', text: 'not for it\n' });
    app.tell({ slot: 0, act: 'write', to: 'stdout', text: 'for it\n' });
    assert.strictEqual((await followed.next()).value?.text, 'for it');
    await followed.return();
    client.close();
  }),
);

test(
  'a client that does not read misses lines, is notified how many, and delays no other client',
  { skip },
  () =>
    withWriters({ workers: 1, logs: 'raw' }, async (app) => {
      const client = net.connect(app.control);
      client.write('{"id":"f","verb":"logs","lines":0,"follow":true}\n');
      const [answer] = await once(client.setEncoding('utf8'), 'data');
      assert.deepStrictEqual(JSON.parse(answer), { id: 'f', ok: true, result: { lines: [] } });
      client.pause();
      const count = 60_000;
      app.tell({ slot: 0, act: 'flood', to: 'stdout', count, size: SIZE });
      await app.message(({ flooded }) => flooded === 0);
      const { logs } = await until('all is read', async () => {
        const stats = await app.stats();
        return stats.logs.lines === count && stats;
      });
      assert.strictEqual(logs.lostStdout.lines, 0);
      let [received, lost, rest] = [0, 0, ''];
      client.resume();
      for await (const piece of client) {
        const lines = `${rest}${piece}`.split('\n');
        rest = /** @type {string} */ (lines.pop());
        for (const line of lines) {
          const { id, event, facts } = JSON.parse(line);
          assert.strictEqual(id, 'f');
          if (event === 'log') assert.strictEqual(facts.text.length, SIZE - 1, `${++received}`);
          else lost += facts.lines;
        }
        if (received + lost === count) break;
      }
      assert.ok(lost > 0 && received > 0, `${lost} lost, ${received} received`);
    }),
);
