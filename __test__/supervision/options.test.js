'use strict';

// Invalid options are refused by name, and supervise() is refused where it cannot run.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { inspect } = require('node:util');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in does not supervise';
const PACKAGE = path.join(__dirname, '..', '..');

/** @type {[unknown, string, RegExp][]} */
const WRONG = [
  [null, 'ERR_INVALID_ARG_TYPE', /"options"/],
  [7, 'ERR_INVALID_ARG_TYPE', /"options"/],
  [{ worker: 2 }, 'ERR_INVALID_ARG_VALUE', /"options\.worker"/],
  [{ workers: '2' }, 'ERR_INVALID_ARG_TYPE', /"options\.workers"/],
  [{ workers: 0 }, 'ERR_OUT_OF_RANGE', /"options\.workers"/],
  [{ workers: 1.5 }, 'ERR_OUT_OF_RANGE', /"options\.workers"/],
  [{ workers: 5000 }, 'ERR_OUT_OF_RANGE', /"options\.workers"/],
  [{ standby: -1 }, 'ERR_OUT_OF_RANGE', /"options\.standby"/],
  [{ restart: 'sometimes' }, 'ERR_INVALID_ARG_VALUE', /"options\.restart"/],
  [{ restart: true }, 'ERR_INVALID_ARG_TYPE', /"options\.restart"/],
  [{ stopExitCodes: 1 }, 'ERR_INVALID_ARG_TYPE', /"options\.stopExitCodes"/],
  [{ stopExitCodes: [0, 256] }, 'ERR_OUT_OF_RANGE', /"options\.stopExitCodes\[1\]"/],
  [{ restartIntensity: 5 }, 'ERR_INVALID_ARG_TYPE', /"options\.restartIntensity"/],
  [{ restartIntensity: { max: -1 } }, 'ERR_OUT_OF_RANGE', /"options\.restartIntensity\.max"/],
  [{ totalIntensity: { period: 0 } }, 'ERR_OUT_OF_RANGE', /"options\.totalIntensity\.period"/],
  [{ backoff: { initial: '1' } }, 'ERR_INVALID_ARG_TYPE', /"options\.backoff\.initial"/],
  [{ backoff: { initial: 500, max: 100 } }, 'ERR_INVALID_ARG_VALUE', /"options\.backoff\.max"/],
  [{ backoff: { factor: 0.5 } }, 'ERR_OUT_OF_RANGE', /"options\.backoff\.factor"/],
  [{ backoff: { jitter: Number.NaN } }, 'ERR_OUT_OF_RANGE', /"options\.backoff\.jitter"/],
  [{ backoff: { delay: 5 } }, 'ERR_INVALID_ARG_VALUE', /"options\.backoff\.delay"/],
  [{ onGiveUp: 'cry' }, 'ERR_INVALID_ARG_VALUE', /"options\.onGiveUp"/],
  [{ giveUpExitCode: 300 }, 'ERR_OUT_OF_RANGE', /"options\.giveUpExitCode"/],
  [{ startUpLimit: -1 }, 'ERR_OUT_OF_RANGE', /"options\.startUpLimit"/],
  [{ ready: 'soon' }, 'ERR_INVALID_ARG_VALUE', /"options\.ready"/],
  [{ readyTimeout: 0 }, 'ERR_OUT_OF_RANGE', /"options\.readyTimeout"/],
  [{ drainTimeout: 2 ** 31 }, 'ERR_OUT_OF_RANGE', /"options\.drainTimeout"/],
  [{ unresponsiveAfter: 50 }, 'ERR_OUT_OF_RANGE', /"options\.unresponsiveAfter"/],
  [{ recycle: { memory: true } }, 'ERR_INVALID_ARG_TYPE', /"options\.recycle\.memory"/],
  [{ recycle: { memory: -1 } }, 'ERR_OUT_OF_RANGE', /"options\.recycle\.memory"/],
  [{ recycle: { memory: '200MB' } }, 'ERR_INVALID_ARG_VALUE', /"options\.recycle\.memory"/],
  [{ recycle: { memory: '0%' } }, 'ERR_INVALID_ARG_VALUE', /"options\.recycle\.memory"/],
  [{ recycle: { memory: '101%' } }, 'ERR_INVALID_ARG_VALUE', /"options\.recycle\.memory"/],
  [{ recycle: { jitter: 2 } }, 'ERR_OUT_OF_RANGE', /"options\.recycle\.jitter"/],
  [{ retireOnException: 1 }, 'ERR_INVALID_ARG_TYPE', /"options\.retireOnException"/],
  [{ instanceVar: true }, 'ERR_INVALID_ARG_TYPE', /"options\.instanceVar"/],
  [{ instanceVar: '' }, 'ERR_INVALID_ARG_VALUE', /"options\.instanceVar"/],
  [{ instanceVar: 'A=B' }, 'ERR_INVALID_ARG_VALUE', /"options\.instanceVar"/],
  [{ instanceVar: 'RCLUSTER_LINK' }, 'ERR_INVALID_ARG_VALUE', /"options\.instanceVar"/],
  [{ reloadConcurrency: 0 }, 'ERR_OUT_OF_RANGE', /"options\.reloadConcurrency"/],
  [{ log: 'debug' }, 'ERR_INVALID_ARG_VALUE', /"options\.log"/],
  [{ log: true }, 'ERR_INVALID_ARG_TYPE', /"options\.log"/],
  [{ signals: 'SIGTERM' }, 'ERR_INVALID_ARG_TYPE', /"options\.signals"/],
  // Values that JSON cannot represent.
  [{ workers: 2n }, 'ERR_INVALID_ARG_TYPE', /"options\.workers" .* 2n/],
  [{ standby: Symbol('x') }, 'ERR_INVALID_ARG_TYPE', /"options\.standby"/],
  [{ drainTimeout: Infinity }, 'ERR_OUT_OF_RANGE', /"options\.drainTimeout" .* Infinity/],
  [{ readyTimeout: new Date(0) }, 'ERR_INVALID_ARG_TYPE', /"options\.readyTimeout"/],
  [{ restart: () => 'always' }, 'ERR_INVALID_ARG_TYPE', /"options\.restart"/],
  [{ recycle: { age: null } }, 'ERR_INVALID_ARG_TYPE', /"options\.recycle\.age" .* null/],
  [{ recycle: new Map([['age', 1]]) }, 'ERR_INVALID_ARG_TYPE', /"options\.recycle"/],
  [{ backoff: null }, 'ERR_INVALID_ARG_TYPE', /"options\.backoff" .* null/],
];

test('each invalid option is named, and nothing is started', { skip }, () => {
  const cluster = require(PACKAGE);
  for (const [options, code, message] of WRONG) {
    assert.throws(() => cluster.supervise(options), { code, message }, inspect(options));
  }
  const failing = {
    get standby() {
      throw new RangeError('read');
    },
  };
  assert.throws(() => cluster.supervise(failing), { name: 'RangeError', message: 'read' });
  assert.deepStrictEqual(cluster.workers, {});
});

/**
 * Runs a primary to its end.
 * @param {string} source
 */
function run(source) {
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', source], {
    encoding: 'utf8',
    env: { ...process.env, PACKAGE },
    timeout: 60_000,
  });
  return stdout.trim() + stderr;
}

const PRELUDE = `
  const cluster = require(process.env.PACKAGE);
  cluster.setupPrimary({ exec: '-' , execArgv: ['-e', 'setInterval(() => {}, 1000)'] });
  const code = (act) => { try { act(); return 'nothing'; } catch (error) { return error.code; } };
`;

test('a second call, and a call after a shutdown, are refused', { skip }, () => {
  const output = run(`${PRELUDE}
    const supervisor = cluster.supervise({ workers: 1, ready: 'online', killTimeout: 0 });
    console.log(code(() => cluster.supervise()));
    (async () => {
      for (const act of [() => supervisor.scale(0), () => supervisor.reload({ concurrency: 'x' })]) {
        console.log(await act().catch((error) => error.code));
      }
      await supervisor.shutdown({ timeout: 0 });
      await supervisor.closed;
      console.log(code(() => cluster.supervise()));
      for (const act of [() => supervisor.scale(2), () => supervisor.reload()]) {
        console.log(await act().catch((error) => error.code));
      }
    })();`);
  assert.deepStrictEqual(output.split('\n'), [
    'ERR_RCLUSTER_SUPERVISED',
    'ERR_OUT_OF_RANGE',
    'ERR_INVALID_ARG_TYPE',
    'ERR_RCLUSTER_SHUT_DOWN',
    'ERR_RCLUSTER_SHUT_DOWN',
    'ERR_RCLUSTER_SHUT_DOWN',
  ]);
});

test('options of setupPrimary() are defaults', { skip }, () => {
  const output = run(`${PRELUDE}
    cluster.setupPrimary({ supervise: { workers: 3, ready: 'online', log: false } });
    const supervisor = cluster.supervise({ standby: 1 });
    supervisor.on('ready', function look() {
      // These may be ahead of the events.
      const { ready, standby } = supervisor.stats();
      if (ready === 3 && standby.ready === 1) {
        supervisor.off('ready', look);
        console.log('as told');
        supervisor.shutdown({ timeout: 0 });
      }
    });`);
  assert.strictEqual(output, 'as told');
});
