'use strict';

// A container whose file system is read-only and that has no /tmp.

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { freePorts } = require('../../testing/ports.js');
const { DEADLINE } = require('../../testing/processes.js');
const { isBuiltin } = require('../../testing/subject.js');

const ROOT = path.join(__dirname, '..', '..');
const APP = path.join(__dirname, '..', 'fixtures', 'operations', 'port.js');

const HIDDEN = ['/tmp', '/var/tmp', '/dev/shm', '/run'];

/** The mounts of a namespace are made read-only one by one; mounts that cannot be, such as /proc, stay as they are. */
const SCRIPT = `
set -e
mount --make-rprivate /
for place in ${HIDDEN.join(' ')}; do
  if [ -d $place ]; then mount -t tmpfs -o ro none $place; fi
done
mount -o remount,bind,ro /
exec "$@"
`;

function whyNot() {
  if (isBuiltin) return 'the built-in has no command';
  const hidden = HIDDEN.find((place) => ROOT.startsWith(`${place}/`));
  if (hidden !== undefined) return `the package itself is in ${hidden}`;
  const tried = spawnSync('unshare', [
    '--mount',
    'sh',
    '-c',
    SCRIPT,
    'sh',
    'sh',
    '-c',
    '! touch /etc/x /tmp/x 2> /dev/null',
  ]);
  return tried.status !== 0 && `a namespace takes privileges: ${tried.error ?? tried.stderr}`;
}

for (const [what, control, expected] of [
  ['everything at its default', [], /^$/],
  ['a control socket that cannot be made', ['--control', '/run/app/c.sock'], /RCLUSTER_CONTROL/],
]) {
  test(`it runs, and a line names the problem: ${what}`, { skip: whyNot() }, async () => {
    const [port] = await freePorts(1);
    const command = path.join(ROOT, 'bin', 'rcluster.js');
    const args = ['--mount', 'sh', '-c', SCRIPT, 'sh', process.execPath, command, 'start', '-w', '1'];
    const env = { ...process.env, PORT: `${port}`, XDG_RUNTIME_DIR: '', RUNTIME_DIRECTORY: '' };
    delete env.NODE_TEST_CONTEXT;
    const child = spawn('unshare', [...args, ...control, APP], { env, timeout: DEADLINE });
    let stderr = '';
    const ready = new Promise((resolve) =>
      child.stderr.setEncoding('utf8').on('data', (text) => {
        stderr += text;
        if (/is ready/.test(stderr)) resolve(undefined);
      }),
    );
    const exit = once(child, 'exit');
    await Promise.race([ready, exit]);
    const [response] = await once(http.get({ host: '127.0.0.1', port, agent: false }), 'response');
    assert.strictEqual(response.statusCode, 200);
    response.resume();
    child.kill('SIGTERM');
    assert.deepStrictEqual(await exit, [0, null], stderr);
    const lines = stderr
      .split('\n')
      .filter((line) => line !== '' && !/is ready|stopping;|--trace-warnings/.test(line));
    assert.ok(lines.length <= 1, stderr);
    assert.match(lines.join('\n'), expected);
  });
}
