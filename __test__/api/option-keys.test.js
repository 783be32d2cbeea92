'use strict';

// A misspelled option is refused with a suggestion, wherever options are accepted. Settings that the built-in
// would ignore are ignored here, too.

const assert = require('node:assert');
const path = require('node:path');
const { test } = require('node:test');
const { nearest, isOptions } = require('../../lib/option-keys.js');
const { runProgram } = require('../../testing/run-program.js');
const { isBuiltin } = require('../../testing/subject.js');

const skip = isBuiltin && 'the built-in has no such options';
const PACKAGE = path.join(__dirname, '..', '..');
const code = 'ERR_INVALID_ARG_VALUE';

test('the nearest key is suggested', () => {
  const known = ['workers', 'standby', 'restart', 'stopExitCodes', 'restartIntensity', 'recycle'];
  for (const [word, meant] of [
    ['worker', 'workers'],
    ['Workers', 'workers'],
    ['wrokers', 'workers'],
    ['stand-by', 'standby'],
    ['restarts', 'restart'],
    ['stop_exit_codes', 'stopExitCodes'],
    ['exitCodes', 'stopExitCodes'],
    ['intensity', 'restartIntensity'],
    ['bicycle', 'recycle'],
    ['x', undefined],
    ['', undefined],
    ['memory', undefined],
    ['w'.repeat(100_000), undefined],
  ]) {
    assert.strictEqual(nearest(/** @type {string} */ (word), known), meant, String(word).slice(0, 20));
  }
});

test('which values are accepted as options', () => {
  for (const value of [{}, Object.create(null), Object.create({ inherited: 1 })]) assert.ok(isOptions(value));
  for (const value of [
    null,
    undefined,
    1,
    'x',
    [],
    new Map(),
    new Date(),
    () => {},
    /x/,
    Promise.resolve(),
  ]) {
    assert.ok(!isOptions(value), String(value));
  }
});

test('supervise(), with its nested options', { skip }, () => {
  const cluster = require(PACKAGE);
  for (const [options, name, meant] of [
    [{ worker: 2 }, 'options.worker', 'workers'],
    [{ restrat: 'never' }, 'options.restrat', 'restart'],
    [{ unresponsive: 5000 }, 'options.unresponsive', 'unresponsiveAfter'],
    [{ readyTimeOut: 1 }, 'options.readyTimeOut', 'readyTimeout'],
    [{ backoff: { inital: 5 } }, 'options.backoff.inital', 'initial'],
    [{ recycle: { memroy: 5 } }, 'options.recycle.memroy', 'memory'],
    // One level too high.
    [{ memory: 5e8 }, 'options.memory', 'recycle.memory'],
    [{ resetAfter: 5 }, 'options.resetAfter', 'backoff.resetAfter'],
    [{ restartIntensity: { maximum: 5 } }, 'options.restartIntensity.maximum', undefined],
    [{ totalIntensity: { peroid: 5 } }, 'options.totalIntensity.peroid', 'period'],
    // What says how workers are started.
    [{ exec: 'app.js' }, 'options.exec', String.raw`setupPrimary\(\{ exec \}\)`],
    // An undefined value does not hide a misspelled key.
    [{ wokers: undefined }, 'options.wokers', 'workers'],
  ]) {
    const message = meant === undefined ? /Known are max, period/ : new RegExp(`Did you mean "${meant}"\\?`);
    assert.throws(() => cluster.supervise(/** @type {any} */ (options)), { code, message });
    const named = new RegExp(`"${name}"`);
    assert.throws(() => cluster.supervise(/** @type {any} */ (options)), { message: named });
    // The setting with the defaults.
    assert.throws(() => cluster.setupPrimary({ supervise: /** @type {any} */ (options) }), { code, message });
  }
  for (const options of [[], [{ workers: 2 }], new Map([['workers', 2]]), () => {}, new Date(), 'auto', 4]) {
    const expected = { code: 'ERR_INVALID_ARG_TYPE', message: /must be an object/ };
    assert.throws(() => cluster.supervise(/** @type {any} */ (options)), expected);
    assert.throws(() => cluster.setupPrimary({ supervise: /** @type {any} */ (options) }), expected);
  }
  assert.throws(() => cluster.supervise({ backoff: /** @type {any} */ ([]) }), {
    code: 'ERR_INVALID_ARG_TYPE',
  });
  assert.deepStrictEqual([cluster.workers, cluster.settings.supervise], [{}, undefined]);
});

test('forward and scheduling', { skip }, () => {
  const cluster = require(PACKAGE);
  for (const [settings, name, meant] of [
    [{ forward: { prot: 80 } }, 'forward.prot', 'port'],
    [{ forward: [{ port: 0 }, { port: 0, proxyprotocol: 1 }] }, 'forward.proxyprotocol', 'proxyProtocol'],
    [{ forward: { port: 0, idletimeout: 1 } }, 'forward.idletimeout', 'idleTimeout'],
    [{ scheduling: { polcy: 'sticky' } }, 'scheduling.polcy', 'policy'],
    [{ scheduling: { overload: { que: 1 } } }, 'scheduling.overload.que', undefined],
    [{ scheduling: { policy: 'sticky', by: 'cookie' } }, 'scheduling.by', 'sticky.by'],
    [{ scheduling: { policy: 'sticky', sticky: { patiense: 1 } } }, 'scheduling.sticky.patiense', 'patience'],
    [
      { scheduling: { listeners: { 80: { slowstart: 1 } } } },
      "scheduling.listeners['80'].slowstart",
      'slowStart',
    ],
    [
      { scheduling: { overload: { action: { retryAftr: 1 } } } },
      'scheduling.overload.action.retryAftr',
      'retryAfter',
    ],
  ]) {
    assert.throws(
      () => cluster.setupPrimary(/** @type {any} */ (settings)),
      (error) =>
        error.code === code &&
        error.message.includes(String(name)) &&
        error.message.includes(meant === undefined ? 'Known are' : `Did you mean "${meant}"?`),
      String(name),
    );
  }
  for (const forward of [[[]], new Map([['port', 80]]), 80, '80', null]) {
    assert.throws(() => cluster.setupPrimary(/** @type {any} */ ({ forward })), { code }, String(forward));
  }
});

test('settings: ours are known by name, all others are ignored', { skip }, () => {
  const cluster = require(PACKAGE);
  for (const [key, meant] of Object.entries({
    forwards: 'forward',
    fowrard: 'forward',
    schedulling: 'scheduling',
    supervize: 'supervise',
    execpath: 'execPath',
  })) {
    const message = new RegExp(`"${key}".*Did you mean "${meant}"\\?`);
    assert.throws(() => cluster.setupPrimary(/** @type {any} */ ({ [key]: {} })), { code, message });
  }
  // Keys that programs pass to the built-in, which ignores them, including keys similar to its own settings.
  const ignored = { schedulingPolicy: 2, env: {}, path: '/', execArg: [], exce: 'x', workers: 4, 0: 1 };
  cluster.setupPrimary(/** @type {any} */ (ignored));
});

test(
  'the methods of a supervisor reject; in a worker, the error of supervise() says why it cannot run',
  { skip },
  async () => {
    const source = `
    const cluster = require(process.env.PACKAGE);
    const told = (error) => error.code + ' ' + error.message;
    if (cluster.isPrimary) {
      cluster.on('message', (worker, text) => console.log(text));
      const supervisor = cluster.supervise({ workers: 1, ready: 'online' });
      cluster.once('message', async () => {
        for (const act of [
          () => supervisor.scale(0), () => supervisor.scale('2'), () => supervisor.reload({ concurency: 2 }),
          () => supervisor.reload([]), () => supervisor.shutdown({ timout: 2 }), () => supervisor.shutdown(5),
        ]) {
          const promise = act();
          console.log(await promise.then(() => 'nothing', told));
        }
        await supervisor.shutdown();
      });
    } else {
      try { cluster.supervise(); } catch (error) { process.send(told(error)); }
    }`;
    const { stdout, stderr } = await runProgram(source, { ...process.env, PACKAGE });
    const lines = stdout.trim().split('\n');
    for (const [line, wanted] of [
      [lines[0], /^ERR_RCLUSTER_NOT_PRIMARY .*this is a worker.*`if \(cluster\.isPrimary\)`/],
      [lines[1], /^ERR_OUT_OF_RANGE/],
      [lines[2], /^ERR_INVALID_ARG_TYPE/],
      [lines[3], /^ERR_INVALID_ARG_VALUE .*Did you mean "concurrency"\?/],
      [lines[4], /^ERR_INVALID_ARG_TYPE/],
      [lines[5], /^ERR_INVALID_ARG_VALUE .*Did you mean "timeout"\?/],
      [lines[6], /^ERR_INVALID_ARG_TYPE/],
    ]) {
      assert.match(/** @type {string} */ (line), /** @type {RegExp} */ (wanted), stdout + stderr);
    }
    assert.strictEqual(lines.length, 7);
  },
);
