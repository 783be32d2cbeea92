'use strict';

// Faults of all kinds under load, at random: each client is accounted for, and nothing is left behind. For
// longer runs, other policies, and to repeat a run: `node __test__/faults/run.js`.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { account, fateOf } = require('./ledger.js');
const { parseNetstat } = require('./network.js');

test('every client is accounted for, and no request is executed twice', async (t) => {
  const seed = `${Date.now() % 2 ** 31}`;
  const program = require.resolve('./run.js');
  const args = ['--minutes', '0.25', '--workers', '3', '--rate', '150', '--supervise', '--seed', seed];
  t.diagnostic(`node __test__/faults/run.js ${args.join(' ')}`);
  const run = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => run.kill());
  let report = '';
  run.stdout.setEncoding('utf8').on('data', (text) => (report += text));
  const [code] = await once(run, 'close');
  for (const line of report.trimEnd().split('\n')) t.diagnostic(line);
  assert.match(report, /^0 unaccounted, 0 executed twice$/m);
  assert.strictEqual(code, 0);
});

/** A client whose connection broke at 1000, one second after it connected, and the evidence about it. */
const evidence = {
  killed: [],
  overdue: [],
  windows: [],
  last: new Map(),
  primary: 1,
  lateness: 0,
  forward: false,
  passing: true,
};
const broken = {
  id: 7,
  kind: /** @type {const} */ ('short'),
  address: '127.1.0.7',
  crowd: false,
  openedAt: 0,
  connectedAt: 1,
  endedAt: 1000,
  complete: false,
  answers: 0,
  shed: false,
  error: 'ECONNRESET',
};
const heldBy = (/** @type {number} */ pid) => new Map([[broken.id, { pid, at: 10, asked: true }]]);

test('a kill explains the loss of clients of the killed worker, and of no others', () => {
  const killed = [{ pid: 50, at: 900 }];
  const windows = [{ fault: 'kill', pid: 50, from: 900, to: 950 }];
  const fate = (/** @type {object} */ found) => fateOf(broken, { ...evidence, killed, windows, ...found });
  assert.strictEqual(fate({ last: heldBy(50) }), 'hands');
  assert.strictEqual(fate({ last: heldBy(51) }), 'unaccounted');
  assert.strictEqual(fate({}), 'way');
  assert.strictEqual(fate({ windows: [{ ...windows[0], from: 100, to: 150 }] }), 'unaccounted');
  assert.strictEqual(fate({ killed: [{ pid: 50, at: 1001 }], last: heldBy(50) }), 'unaccounted');
});

test('without a fault, no loss is explained', () => {
  for (const error of ['ECONNRESET', 'ended', 'hung', 'the answer of another']) {
    assert.strictEqual(fateOf({ ...broken, error }, evidence), 'unaccounted');
  }
  assert.strictEqual(fateOf({ ...broken, error: 'ECONNREFUSED' }, evidence), 'refused');
  assert.strictEqual(fateOf({ ...broken, error: 'hung', connectedAt: null }, evidence), 'unaccounted');
  assert.strictEqual(fateOf({ ...broken, complete: true, error: null }, evidence), 'answered');
});

test('only a backlog that overflows explains a client that waits forever, and only in the crowd before it', () => {
  const windows = [{ fault: 'backlog', from: 0, to: 500 }];
  const fate = (/** @type {object} */ client, /** @type {object} */ found = {}) =>
    fateOf({ ...broken, error: 'hung', ...client }, { ...evidence, windows, ...found });
  assert.strictEqual(fate({ crowd: true }), 'late');
  assert.strictEqual(fate({ crowd: false }), 'unaccounted');
  assert.strictEqual(fate({ crowd: true, openedAt: 9000, endedAt: 19_000 }), 'unaccounted');
  assert.strictEqual(fate({ crowd: true, endedAt: 10_000 }, { last: heldBy(50) }), 'unaccounted');
});

test('a client that the kernel has answered without having room is dropped after 7 s, and not before', () => {
  const windows = [{ fault: 'backlog', from: 0, to: 500 }];
  const fate = (/** @type {object} */ client, /** @type {object} */ found = {}) =>
    fateOf(
      { ...broken, error: 'ECONNRESET', crowd: true, connectedAt: 100, ...client },
      { ...evidence, windows, ...found },
    );
  assert.strictEqual(fate({ endedAt: 7_113 }), 'late');
  assert.strictEqual(fate({ endedAt: 3_100 }), 'unaccounted');
  assert.strictEqual(fate({ endedAt: 7_113, crowd: false }), 'unaccounted');
  assert.strictEqual(fate({ endedAt: 7_113, error: 'ended' }), 'unaccounted');
  assert.strictEqual(fate({ endedAt: 7_113 }, { last: heldBy(50) }), 'unaccounted');
  assert.strictEqual(fate({ connectedAt: 9_000, openedAt: 9_000, endedAt: 17_000 }), 'unaccounted');
});

/**
 * @param {object[]} records
 * @param {Record<number, string[]>} notes of each worker
 * @param {object} [found]
 */
function accountOf(t, records, notes, found = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-ledger-'));
  t.after(() => fs.rmSync(directory, { recursive: true }));
  for (const [pid, lines] of Object.entries(notes)) {
    fs.writeFileSync(path.join(directory, `log-${pid}`), lines.map((line) => `${line}\n`).join(''));
  }
  const overflowed = { overflows: 0, drops: 0 };
  return account(records, { ...evidence, directory, overflowed, ...found });
}

const served = {
  ...broken,
  id: 0,
  address: '127.1.0.0',
  kind: /** @type {const} */ ('kept'),
  complete: true,
  error: null,
};

test('a request that two workers, or one worker twice, have executed is found, even if its client has an answer', (t) => {
  const repeated = (/** @type {Record<number, string[]>} */ notes) => accountOf(t, [served], notes).repeated;
  const first = '10 request 0 0';
  assert.deepStrictEqual(repeated({ 50: ['5 connection 127.1.0.0', first, '20 request 0 1'] }), []);
  assert.deepStrictEqual(repeated({ 50: [first], 51: ['20 request 0 1'] }), []);
  assert.deepStrictEqual(repeated({ 50: [first], 51: ['30 request 0 0'] }), [
    {
      id: 0,
      number: 0,
      by: [
        { pid: 50, at: 10 },
        { pid: 51, at: 30 },
      ],
    },
  ]);
  assert.deepStrictEqual(repeated({ 50: [first, '2000 request 0 0'] }), [
    {
      id: 0,
      number: 0,
      by: [
        { pid: 50, at: 10 },
        { pid: 50, at: 2000 },
      ],
    },
  ]);
});

test('at most as many clients are late as the kernel had no room for', (t) => {
  const windows = [{ fault: 'backlog', from: 0, to: 500 }];
  const crowd = [0, 1, 2].map((id) => ({
    ...broken,
    id,
    address: `127.1.0.${id}`,
    crowd: true,
    error: 'hung',
  }));
  const total = (/** @type {object} */ overflowed) => {
    const { late, unaccounted } = accountOf(t, crowd, {}, { windows, overflowed }).total;
    return { late, unaccounted };
  };
  assert.deepStrictEqual(total({ overflows: 3, drops: 3 }), { late: 3, unaccounted: 0 });
  assert.deepStrictEqual(total({ overflows: 2, drops: 9 }), { late: 2, unaccounted: 1 });
  assert.deepStrictEqual(total({ overflows: 9, drops: 0 }), { late: 0, unaccounted: 3 });
});

test("the kernel's counters are found by their names", () => {
  const text = 'TcpExt: TW ListenOverflows ListenDrops X\nTcpExt: 1 22 333 4\nIpExt: InOctets\nIpExt: 5\n';
  assert.deepStrictEqual(parseNetstat(text), { overflows: 22, drops: 333 });
  assert.throws(() => parseNetstat('TcpExt: TW\nTcpExt: 1\n'), /no TcpExt ListenOverflows/);
  assert.throws(() => parseNetstat(''), /no TcpExt ListenOverflows/);
});

test('with forwarding, the primary may have accepted clients that gave up before a worker received them', (t) => {
  const windows = [{ fault: 'backlog', from: 0, to: 500 }];
  const crowd = [0, 1, 2].map((id) => ({ ...broken, id, crowd: true, error: 'hung', connectedAt: null }));
  const overflowed = { overflows: 3, drops: 3 };
  const found = { windows, overflowed, forward: true, passing: false };
  const notes = { 50: ['1 connection 127.0.0.1', '2 request 0 0'] };
  assert.deepStrictEqual(accountOf(t, crowd, notes, found).accepted[1], { least: 1, most: 3 });
});
