'use strict';

// The unit that `rcluster init systemd` writes, under a systemd in namespaces of its own.

const assert = require('node:assert');
const { execFile, spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { freePorts } = require('../../testing/ports.js');
const { until } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const SYSTEMD = '/lib/systemd/systemd';
const ROOT = path.join(__dirname, '..', '..');
const COMMAND = path.join(ROOT, 'bin', 'rcluster.js');
const UNSHARE = ['--pid', '--fork', '--mount', '--mount-proc', '--cgroup', '--uts', '--ipc', '--kill-child'];

const BOOT = `
mount --make-rprivate / && mount -t tmpfs none /run && mkdir /run/systemd &&
exec env container=other SYSTEMD_UNIT_PATH="$1" ${SYSTEMD} --system --unit=default.target --show-status=false --log-target=null
`;

function whyNot() {
  if (isBuiltin) return 'the built-in has no command';
  if (!fs.existsSync(SYSTEMD) || process.getuid?.() !== 0) return 'it takes systemd, and root';
  const tried = spawnSync('unshare', [...UNSHARE, 'sh', '-c', 'mount -t tmpfs none /run']);
  return tried.status !== 0 && `namespaces take privileges: ${tried.error ?? tried.stderr}`;
}

/**
 * @param {(systemctl: (...args: string[]) => Promise<string>, units: string) => Promise<void>} body
 */
async function withSystemd(body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-systemd-'));
  fs.writeFileSync(path.join(directory, 'default.target'), '[Unit]\nDescription=Nothing\n');
  for (const name of ['basic', 'sysinit', 'shutdown', 'network-online', 'multi-user']) {
    const unit = `[Unit]\nDescription=${name}\nDefaultDependencies=no\n`;
    fs.writeFileSync(path.join(directory, `${name}.target`), unit);
  }
  const child = spawn('unshare', [...UNSHARE, 'sh', '-c', BOOT, 'sh', directory], { stdio: 'ignore' });
  const exit = once(child, 'exit');
  const run = promisify(execFile);
  /** @type {string} */
  let pid = '';
  const systemctl = async (/** @type {string[]} */ ...args) =>
    (await run('nsenter', ['-t', pid, '-p', '-m', 'systemctl', '--no-pager', ...args])).stdout;
  try {
    await until('systemd runs', async () => {
      pid = fs.readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
      return (
        pid !== '' && (await systemctl('is-active', 'default.target').catch(() => '')).includes('active')
      );
    });
    await body(systemctl, directory);
  } finally {
    // This ends everything in its namespace.
    child.kill('SIGKILL');
    await exit;
    fs.rmSync(directory, { recursive: true });
  }
}

/** @param {number} port */
async function ask(port) {
  const [response] = await once(http.get({ host: '127.0.0.1', port, agent: false }), 'response');
  let text = '';
  for await (const piece of response.setEncoding('utf8')) text += piece;
  return text;
}

/**
 * The answer to a client that has connected while no process accepts.
 * @param {number} port
 */
async function waiting(port) {
  const client = net.connect(port, '127.0.0.1');
  await once(client, 'connect');
  client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  let answer = '';
  for await (const piece of client.setEncoding('utf8')) answer += piece;
  return answer;
}

test('the unit starts, reloads, keeps its port over restarts and a kill, and stops', { skip: whyNot() }, () =>
  withSystemd(async (systemctl, units) => {
    const [port] = await freePorts(1);
    const app = path.join(units, 'app.js');
    fs.writeFileSync(
      app,
      `require('node:http').createServer((request, response) => response.end('' + process.ppid))
        .listen(Number(process.env.PORT), '127.0.0.1');`,
    );
    const args = ['--port', `${port}`, '--app', app, '--directory', ROOT, '--node', process.execPath];
    const { stdout: unit } = spawnSync(process.execPath, [COMMAND, 'init', 'systemd', ...args], {
      encoding: 'utf8',
    });
    const usable = unit
      .replace('node_modules/rcluster/bin/rcluster.js', COMMAND)
      .replace('127.0.0.1:9090', 'off')
      // The files of a checkout may be readable by root only, and in directories that the sandbox hides.
      .replace(/^(DynamicUser|PrivateTmp|ProtectHome|SystemCallFilter)=.*$/gm, '');
    fs.writeFileSync(path.join(units, 'app.service'), usable);
    await systemctl('daemon-reload');
    await systemctl('start', 'app.service');
    // It is active once all workers are ready, so this needs no retries.
    const first = await ask(port);
    const show = async (/** @type {string} */ name) =>
      (await systemctl('show', '-P', name, 'app.service')).trim();
    assert.match(await show('StatusText'), /(\d+) of \1 workers are ready/);
    assert.strictEqual(await show('NFileDescriptorStore'), '1');

    await systemctl('reload', 'app.service');
    assert.strictEqual(await ask(port), first, 'the primary is the same');

    // Clients connect all the time.
    const restart = { isDone: false };
    const clients = [1, 2].map(async () => {
      let served = 0;
      while (!restart.isDone) {
        assert.match(await waiting(port), /^HTTP\/1\.1 200/);
        served++;
      }
      return served;
    });
    await systemctl('restart', 'app.service');
    const second = await ask(port);
    assert.notStrictEqual(second, first);
    restart.isDone = true;
    for (const served of await Promise.all(clients)) assert.ok(served > 0);

    await systemctl('kill', '--kill-whom=main', '--signal=SIGKILL', 'app.service');
    assert.match(await waiting(port), /^HTTP\/1\.1 200/);
    await until('it is active again', async () => (await show('ActiveState')) === 'active');
    assert.notStrictEqual(await ask(port), second);
    assert.strictEqual(await show('NFileDescriptorStore'), '1', 'kept once');

    await systemctl('stop', 'app.service');
    assert.deepStrictEqual([await show('Result'), await show('ExecMainStatus')], ['success', '0']);
    await assert.rejects(ask(port), { code: 'ECONNREFUSED' });
  }),
);

test('a socket unit opens the port for an unchanged app', { skip: whyNot() }, () =>
  withSystemd(async (systemctl, units) => {
    const [port] = await freePorts(1);
    const app = path.join(units, 'app.js');
    fs.writeFileSync(
      app,
      `require('node:http').createServer((request, response) => response.end('served')).listen(${port});`,
    );
    const write = (/** @type {string} */ name, /** @type {string} */ text) =>
      fs.writeFileSync(path.join(units, name), text);
    write('app.socket', `[Socket]\nListenStream=${port}\n`);
    write(
      'app.service',
      `[Service]\nType=notify\nExecStart=${process.execPath} ${COMMAND} start -w 2 ${app}\nTimeoutStopSec=20\n`,
    );
    await systemctl('daemon-reload');
    await systemctl('start', 'app.socket');
    // The first client starts the service.
    assert.match(await waiting(port), /served/);
    await systemctl('restart', 'app.service');
    assert.match(await waiting(port), /served/);
    await systemctl('stop', 'app.socket', 'app.service');
  }),
);
