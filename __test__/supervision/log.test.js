'use strict';

// A supervised cluster writes failures and their consequences to stderr, without repetitions.

const assert = require('node:assert');
const { test } = require('node:test');
const { Log } = require('../../lib/primary/supervise/log.js');
const { withSupervised, fatal } = require('../../testing/supervised.js');
const { get } = require('../../testing/clients.js');

/** A log with a simulated clock, and its output. */
function written(option) {
  const lines = [];
  const clock = { now: 0 };
  const log = new Log(
    option,
    (line) => lines.push(line),
    () => clock.now,
    60_000,
  );
  return { log, lines, clock };
}

const about = { worker: 3, pid: 4711, slot: 0 };
const reason = 'it ended with exit code 1';
const restart = { ...about, code: 1, signal: null, reason, phase: 'start-up', delay: 100, restarts: 1 };

/** Each event with its line and its level. */
const EVENTS = [
  ['spawn', { ...about, cause: 'start' }, 'info', /worker 3 \(pid 4711, slot 0\).*start/],
  ['ready', { ...about, bootMs: 1200 }, 'info', /worker 3 .*1\.2 s/],
  ['restart', restart, 'warn', /worker 3 \(pid 4711, slot 0\) failed to start: .*code 1.* 100 ms/],
  ['restart', { ...restart, phase: 'service', delay: 0 }, 'warn', /failed: .*code 1.*at once/],
  ['restart', { ...restart, worker: null, pid: undefined, slot: null }, 'warn', /worker \(standby\) failed/],
  ['backoff', { slot: 2, delay: 200, failures: 7 }, 'warn', /slot 2 .*200 ms.*7 failures/],
  [
    'gave-up',
    { ...about, code: 1, signal: null, reason, scope: 'slot', restarts: 5, period: 60_000 },
    'warn',
    /slot 0.*5 restarts.*worker 3 \(pid 4711, slot 0\).*code 1/,
  ],
  [
    'stopped',
    { ...about, code: 0, signal: null, reason: 'it ended with exit code 0' },
    'info',
    /not replaced/,
  ],
  ['stopped', { ...about, code: 1, signal: null, reason }, 'warn', /not replaced.*code 1/],
  [
    'retire',
    { ...about, reason: 'uncaughtException', detail: 'Error: a\n at b', by: 'worker' },
    'warn',
    /worker 3 .* retires because of an uncaught exception: Error: a$/,
  ],
  [
    'retire',
    { ...about, reason: 'unhandledRejection', detail: 'Error: a', by: 'worker' },
    'warn',
    /an unhandled rejection: Error: a$/,
  ],
  ['retire', { ...about, reason: 'old', detail: 'a\nb', by: 'primary' }, 'info', /retires: old\na\nb$/],
  ['retire', { ...about, reason: 'toString', detail: '', by: 'worker' }, 'info', /retires: toString$/],
  [
    'drain-timeout',
    { ...about, connections: 2, resources: { Timeout: 3 } },
    'warn',
    /worker 3 .*not drained.*2 connections.*3 Timeout/,
  ],
  ['drain-timeout', { ...about, connections: null }, 'warn', /not drained in time/],
  ['drained', { ...about, resources: {} }, 'info', /has drained/],
  ['unresponsive', { ...about, blockedFor: 5000, stack: 'at f (a.js:1)' }, 'warn', /5 s.*\n.*a\.js:1/],
  ['unresponsive', { ...about, blockedFor: 5000, stack: null }, 'warn', /slot 0\) .*5 s/],
  [
    'recycle',
    { ...about, cause: 'memory', value: 538_968_064, limit: 524_288_000 },
    'warn',
    /is recycled: it uses 514M of memory, and its limit, with jitter, is 500M$/,
  ],
  [
    'recycle',
    { ...about, cause: 'age', value: 90_000, limit: 89_000 },
    'info',
    /is recycled: it is 90 s old$/,
  ],
  ['recycle', { ...about, cause: 'connections', value: 9, limit: 8 }, 'info', /has received 9 connections$/],
  ['reload', { phase: 'start', slots: 2, concurrency: 1 }, 'info', /2 workers/],
  ['reload', { phase: 'done', tookMs: 20 }, 'info', /20 ms/],
  [
    'reload',
    { phase: 'failed', reason: 'slot 1 is broken', reloaded: 1 },
    'warn',
    /failed.*slot 1 is broken/,
  ],
  ['promote', { ...about, standbyFor: 7 }, 'info', /takes over/],
  ['stopping', { signal: 'SIGTERM', delay: 500 }, 'info', /500 ms.*SIGTERM/],
  [
    'shutdown',
    { signal: null, gaveUp: false, reason: null, exitCode: null, timeout: 5 },
    'info',
    /shuts down$/,
  ],
  [
    'shutdown',
    { signal: null, gaveUp: true, reason, exitCode: 70, timeout: 5 },
    'warn',
    /exits with code 70.*code 1$/,
  ],
];

test('each event has a line with its facts, at its level', () => {
  for (const [name, facts, level, text] of EVENTS) {
    for (const [option, isWritten] of [
      ['info', true],
      ['warn', level === 'warn'],
      [false, false],
    ]) {
      const { log, lines } = written(option);
      log.on(name, facts);
      log.end();
      assert.strictEqual(lines.length, isWritten ? 1 : 0, `${name} with ${option}`);
      if (isWritten) assert.match(lines[0], /^rcluster: /);
      if (isWritten) assert.match(lines[0], text);
    }
  }
});

test('a function gets every event and nothing is written', () => {
  const events = [];
  const { log, lines } = written((event) => events.push(event));
  for (const [name, facts] of EVENTS) log.on(name, facts);
  log.end();
  assert.deepStrictEqual(
    events.map(({ name, level, facts }) => [name, level, facts]),
    EVENTS.map(([name, facts, level]) => [name, level, facts]),
  );
  for (const [at, { message }] of events.entries()) assert.match(message, EVENTS[at][3]);
  assert.deepStrictEqual(lines, []);
});

test('equal failures are written once and then counted, even if they alternate', () => {
  const { log, lines, clock } = written('warn');
  const other = { ...restart, code: 2, reason: 'it ended with exit code 2' };
  for (let count = 0; count < 12; count++) {
    for (const facts of [restart, other]) {
      log.on('restart', { ...facts, slot: count % 4, delay: 100 + count });
      log.on('backoff', { slot: count % 4, delay: 100 + count, failures: count });
    }
  }
  assert.strictEqual(lines.length, 2);
  clock.now = 10_000;
  log.flush();
  assert.strictEqual(lines.length, 4);
  assert.match(lines[2], /11 more.*code 1.*4 slots.*10 s.*111 ms/);
  assert.match(lines[3], /11 more.*code 2/);
  // None has occurred since, so the next one is written.
  log.flush();
  log.on('restart', restart);
  assert.match(lines[4], /worker 3/);
  assert.strictEqual(lines.length, 5);
  log.end();
});

test('equal exceptions are written once and then counted', () => {
  const { log, lines, clock } = written('warn');
  const thrown = { ...about, reason: 'uncaughtException', by: 'worker' };
  for (let slot = 0; slot < 4; slot++) {
    log.on('retire', { ...thrown, slot, detail: `Error: a\n at worker ${slot}` });
    log.on('retire', { ...thrown, slot: 0, detail: 'TypeError: b' });
  }
  assert.strictEqual(lines.length, 2);
  clock.now = 10_000;
  log.end();
  assert.deepStrictEqual(lines.slice(2), [
    'rcluster: 3 more such failures (Error: a) of 3 slots in 10 s',
    'rcluster: 3 more such failures (TypeError: b) of slot 0 in 10 s',
  ]);
});

test('counted failures are written before their consequence', () => {
  const { log, lines } = written('warn');
  log.on('restart', restart);
  log.on('restart', restart);
  log.on('gave-up', { ...restart, scope: 'slot', period: 1 });
  log.end();
  assert.strictEqual(lines.length, 3);
  assert.match(lines[1], /1 more/);
  assert.match(lines[2], /gave up/);
});

test('the first failed start says until when starting is tried, unless a worker has been ready', () => {
  const { log, lines } = written('warn');
  log.on('restart', restart);
  log.on('restart', { ...restart, reason: 'it ended with exit code 2' });
  assert.match(lines[0], /starts in 100 ms; if no worker becomes ready within 60 s, rcluster gives up$/);
  assert.match(lines[1], /starts in 100 ms$/);
  log.end();
  const other = written('warn');
  other.log.on('ready', { ...about, bootMs: 1 });
  other.log.on('restart', restart);
  assert.match(other.lines[0], /starts in 100 ms$/);
  other.log.end();
});

test('giving up names the error of the last worker, and nothing starts afterwards', () => {
  const { log, lines } = written('warn');
  const error = 'Error: bind EADDRINUSE :::80';
  const end = { gaveUp: true, signal: null, reason, exitCode: 70, timeout: 5 };
  log.on('restart', restart);
  log.on('restart', { ...restart, error });
  log.on('gave-up', { ...restart, error, scope: 'start-up', period: 60_000 });
  log.on('restart', restart);
  log.on('shutdown', end);
  log.end();
  assert.match(lines[1], /^rcluster: 1 more such failure .* starts in 100 ms$/);
  assert.match(
    lines[2],
    /the last failure was that of .*: it ended with exit code 1: Error: bind EADDRINUSE :::80$/,
  );
  assert.match(lines[3], /^rcluster: 1 more such failure \(it ended with exit code 1\) of slot 0 in 0 ms$/);
  assert.match(
    lines[4],
    /exits with code 70; the last failure: it ended with exit code 1: Error: bind EADDRINUSE :::80$/,
  );
});

test('a backoff without a restart line is written', () => {
  const { log, lines } = written('warn');
  log.on('restart', restart);
  log.on('backoff', { slot: 0, delay: 100, failures: 1 });
  log.on('backoff', { slot: 1, delay: 100, failures: 1 });
  log.end();
  assert.strictEqual(lines.length, 2);
  assert.match(lines[1], /slot 1 waits 100 ms/);
});

test('a worker that is killed is a line on stderr by default', () =>
  withSupervised({ workers: 1 }, async (app) => {
    const [{ id, pid }] = app.workers;
    process.kill(pid, 'SIGKILL');
    await app.marker('restart');
    await app.written(new RegExp(`worker ${id} \\(pid ${pid}, slot 0\\) failed`));
  }));

test('without a log nothing is written', () =>
  withSupervised({ workers: 1, log: false }, async (app) => {
    await fatal(app, 'exit/1');
    await app.marker('restart');
    await app.marker('listening');
    app.tell('shutdown');
    await app.marker('done');
    await app.stop();
    await app.ended();
    assert.strictEqual(app.stderr, '');
  }));

test('many attempts to start are summarised in few lines', () =>
  withSupervised(
    {
      workers: 2,
      backoff: { initial: 1, max: 4, jitter: 0 },
      restartIntensity: { max: 12 },
    },
    async (app) => {
      assert.deepStrictEqual(await app.ended(), { code: 70, signal: null });
      assert.strictEqual(app.stderr.match(/gave up on slot/g)?.length, 2);
      const lines = app.stderr.trim().split('\n');
      assert.match(lines[0], /failed to start: it ended with exit code 3; the next one starts in 1 ms/);
      assert.ok(lines.length < 8, app.stderr);
      // Each attempt is either written or counted.
      const counted = lines.map((line) => Number(/(\d+) more such failure/.exec(line)?.[1] ?? 0));
      const written = lines.filter((line) => line.includes('failed to start')).length;
      assert.strictEqual(
        counted.reduce((sum, count) => sum + count, written),
        24,
        app.stderr,
      );
    },
    { listen: false, env: { FATE: require.resolve('../../testing/apps/fates/crash') } },
  ));

/** The line that Node writes after the stack of an exception that ends the process. */
const STACK = /^Node\.js v/gm;

for (const retireOnException of [true, false]) {
  test(`only the first attempt to start has a stack, retireOnException: ${retireOnException}`, () =>
    withSupervised(
      {
        workers: 1,
        backoff: { initial: 1, max: 4, jitter: 0 },
        restartIntensity: { max: 5 },
        retireOnException,
      },
      async (app) => {
        assert.deepStrictEqual(await app.ended(), { code: 70, signal: null });
        assert.strictEqual(app.stderr.match(STACK)?.length, 1, app.stderr);
        const repeated = app.stderr.match(/^rcluster: worker \d+ \(pid \d+\) cannot start, .*$/gm) ?? [];
        assert.strictEqual(repeated.length, 5, app.stderr);
        for (const line of repeated) {
          assert.match(line, /: Error: no database, at .*throw-at-start\.js:4:\d+\)$/);
        }
      },
      {
        listen: false,
        env: {
          SCRIPT: require.resolve('../fixtures/supervision/throw-at-start'),
          WHY: 'no database\nnowhere',
        },
      },
    ));
}

test('a worker that has been ready has a stack, whatever the one before it did', () =>
  withSupervised(
    {
      workers: 1,
      ready: 'explicit',
      retireOnException: false,
      backoff: { initial: 1, max: 4, jitter: 0 },
      restartIntensity: { max: 5 },
    },
    async (app) => {
      await app.ended();
      // Workers 1 to 6: the first, both that were ready, and the one after the first of these.
      assert.strictEqual(app.stderr.match(STACK)?.length, 4, app.stderr);
      assert.strictEqual(app.stderr.match(/cannot start, like the one before it/g)?.length, 2, app.stderr);
    },
    { listen: false, env: { SCRIPT: require.resolve('../fixtures/supervision/throw-when-ready') } },
  ));

test('a primary whose stderr is closed continues', () =>
  withSupervised({ workers: 2, log: 'info' }, async (app) => {
    app.child.stderr.destroy();
    for (let round = 0; round < 3; round++) {
      for (const { pid } of app.workers) process.kill(pid, 'SIGKILL');
      for (const _ of [0, 1]) {
        await app.marker('restart');
        const { slot, ...worker } = await app.marker('listening');
        app.workers[slot] = worker;
      }
    }
    app.child.kill('SIGTERM');
    assert.deepStrictEqual(await app.exited, { code: 0, signal: null });
  }));

test('a worker whose stderr is closed throws once, without a second exception from reporting it', () =>
  withSupervised({ workers: 1, log: false }, async (app) => {
    app.child.stderr.destroy();
    assert.strictEqual((await get({ ...app.target, path: '/throw' })).status, 500);
    assert.strictEqual((await app.marker('exit')).code, 1);
    await app.stop();
    await app.ended();
    const exceptions = app.marks.filter(({ mark }) => mark === 'exception').map(({ data }) => data.message);
    assert.deepStrictEqual(exceptions, ['thrown by a request']);
  }));

test('a worker that cannot be spawned is reported with the failed operation', () =>
  withSupervised(
    { workers: 1, restart: 'never' },
    async (app) => {
      assert.deepStrictEqual(await app.ended(), { code: 70, signal: null });
      assert.match(app.stderr, /could not be spawned: [^\n]*working directory[^\n]*ENOENT/);
    },
    { listen: false, env: { SETTINGS: JSON.stringify({ cwd: '/nowhere/at/all' }) } },
  ));
