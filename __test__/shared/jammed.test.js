'use strict';

// A process cannot get its part of a store while its user has too many descriptors on their way between processes. It is
// told so at once, and does not wait for them.

const assert = require('node:assert');
const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { test } = require('node:test');
const { skip } = require('../helpers/native.js');

const PACKAGE = path.join(__dirname, '..', '..');

// Root is exempt from the limit.
const user = process.getuid() === 0 ? { uid: 65534, gid: 65534, cwd: '/' } : {};

/** Sends 600 descriptors that nobody receives, says so, and ends with its input. */
const JAM = `
import array, os, socket, sys
pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(20)]
null = os.open('/dev/null', os.O_RDONLY)
for one, _ in pairs:
    one.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [null] * 30))])
print('on their way', flush=True)
sys.stdin.read()
`;

const APP = `
const cluster = require(process.argv[1]);
const told = (error) => console.log(error.code, error.message);
try {
  cluster.shared('store');
} catch (error) {
  told(error);
}
Promise.resolve()
  .then(() => cluster.locks.request('lock', () => {}))
  .catch(told)
  .then(() => cluster.request('any', 'name'))
  .catch(told);
`;

test('stores, locks and messages say that descriptors are jammed', { skip }, async (t) => {
  const canLoad = spawnSync(process.execPath, ['-e', `require(${JSON.stringify(PACKAGE)})`], user);
  if (canLoad.status !== 0) return t.skip('an unprivileged user cannot load the package from here');
  const jam = spawn('python3', ['-c', JAM], { ...user, stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await once(jam.stdout, 'data');
    const limited = `ulimit -n 128; exec "$0" "$@"`;
    const { stdout, stderr } = spawnSync('sh', ['-c', limited, process.execPath, '-e', APP, PACKAGE], {
      ...user,
      encoding: 'utf8',
    });
    const lines = stdout.trim().split('\n');
    assert.strictEqual(lines.length, 3, stdout + stderr);
    for (const line of lines) assert.match(line, /^ERR_RCLUSTER_SHARED .*ETOOMANYREFS/);
  } finally {
    jam.stdin.end();
    await once(jam, 'close');
  }
});
