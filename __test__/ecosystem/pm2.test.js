'use strict';

// pm2 in cluster mode: its daemon forks the app's workers, with the preload in NODE_OPTIONS and nothing else changed.

const assert = require('node:assert');
const { execFile } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { get, Load } = require('../../testing/clients.js');
const { preload, ECOSYSTEM } = require('../helpers/ecosystem.js');
const { DEADLINE, isAlive, until } = require('../../testing/processes.js');
const { askAll } = require('../helpers/programs.js');
const { isBuiltin } = require('../../testing/subject.js');

const APP = path.join(ECOSYSTEM, 'apps', 'pm2.js');

test('pm2 starts, replaces, reloads, adds and ends workers', async () => {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-pm2-'));
  const env = {
    ...process.env,
    PM2_HOME: home,
    PM2_DISABLE_VERSION_CHECK: 'true',
    NODE_OPTIONS: preload.join(' '),
  };
  // The test runner marks its children; pm2 is not one of them.
  delete env.NODE_TEST_CONTEXT;
  const pm2 = async (...args) => {
    const command = [path.join(ECOSYSTEM, 'node_modules', 'pm2', 'bin', 'pm2'), ...args];
    const { stdout } = await promisify(execFile)(process.execPath, command, {
      env,
      timeout: DEADLINE,
      maxBuffer: 2 ** 26,
    });
    return stdout;
  };
  /** The processes of the app that pm2 considers running. */
  const running = async () => {
    const list = await pm2('jlist');
    return JSON.parse(list.slice(list.indexOf('[{')))
      .filter(({ pm2_env: { status, exec_mode: mode } }) => status === 'online' && mode === 'cluster_mode')
      .map(({ pid }) => pid);
  };
  let daemon = 0;
  let pids = [];
  try {
    // On a busy machine, workers take longer to listen, and to end, than pm2 waits by default before it kills them.
    const patience = ['--listen-timeout', String(DEADLINE), '--kill-timeout', String(DEADLINE)];
    await pm2('start', APP, '--name', 'app', '-i', '2', ...patience);
    daemon = Number(fs.readFileSync(path.join(home, 'pm2.pid'), 'utf8'));
    const isOurs = fs.readFileSync(`/proc/${daemon}/maps`, 'utf8').includes('rcluster');
    assert.strictEqual(isOurs, !isBuiltin, 'the daemon runs on the module under test');
    pids = await running();
    assert.strictEqual(pids.length, 2);
    await until('a worker listens', () => fs.existsSync(path.join(home, 'port')));
    const target = { port: Number(fs.readFileSync(path.join(home, 'port'), 'utf8')), host: '127.0.0.1' };
    const ask = async () => Number((await get(target)).body);
    await askAll(pids, ask);

    // One that dies is replaced, and shares the port.
    process.kill(pids[0], 'SIGKILL');
    const killed = pids;
    pids = await until('the dead worker is replaced', async () => {
      const now = await running();
      return now.length === 2 && !now.includes(killed[0]) && now;
    });
    assert.ok(pids.includes(killed[1]), 'the other one lives on');
    await askAll(pids, ask);

    // All are replaced, without a client noticing.
    const load = new Load(target, 2, () => 'GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n');
    await pm2('reload', 'app');
    const { answered, ...others } = await load.stop();
    assert.deepStrictEqual(others, { closed: [], refused: [], hung: [] });
    assert.ok(answered.length > 0);
    const reloaded = await running();
    assert.strictEqual(reloaded.length, 2);
    assert.ok(!reloaded.some((pid) => pids.includes(pid)), 'both are new');
    pids = reloaded;
    await askAll(pids, ask);

    await pm2('scale', 'app', '3');
    pids = await running();
    assert.strictEqual(pids.length, 3);
    await askAll(pids, ask);
  } finally {
    await pm2('kill');
    fs.rmSync(home, { recursive: true, force: true });
  }
  for (const pid of [daemon, ...pids]) await until(`process ${pid} has ended`, () => !isAlive(pid));
});
