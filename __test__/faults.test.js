'use strict';

// Faults of all kinds under load, at random: each client is accounted for, and nothing is left behind. For longer runs, other
// policies, and to repeat one: `node __test__/faults/run.js`.

const assert = require('node:assert');
const { test } = require('node:test');
const { FAULTS } = require('./faults/injector.js');
const { fateOf } = require('./faults/ledger.js');
const { report } = require('./faults/report.js');
const { runFaults } = require('./faults/scenario.js');

test('every client is accounted for', async (t) => {
  const options = {
    seconds: 15,
    seed: Date.now() % 2 ** 31,
    policy: 'round-robin',
    workers: 3,
    rate: 150,
    faults: Object.keys(FAULTS),
    supervise: true,
    forward: null,
    shed: false,
  };
  t.diagnostic(
    `node __test__/faults/run.js --minutes 0.25 --workers 3 --rate 150 --supervise --seed ${options.seed}`,
  );
  const result = await runFaults(options);
  for (const line of report(result).split('\n')) t.diagnostic(line);
  assert.deepStrictEqual([result.details, result.miscounted, result.leaks], [[], [], []]);
  assert.ok(result.total.answered > 0);
});

/** A client whose connection broke at 1000, one second after it came, and what there is to explain that. */
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

test('a kill explains what the killed worker had, and nothing else', () => {
  const killed = [{ pid: 50, at: 900 }];
  const windows = [{ fault: 'kill', pid: 50, from: 900, to: 950 }];
  const fate = (/** @type {object} */ found) => fateOf(broken, { ...evidence, killed, windows, ...found });
  assert.strictEqual(fate({ last: heldBy(50) }), 'hands');
  assert.strictEqual(fate({ last: heldBy(51) }), 'unaccounted');
  assert.strictEqual(fate({}), 'way');
  assert.strictEqual(fate({ windows: [{ ...windows[0], from: 100, to: 150 }] }), 'unaccounted');
  assert.strictEqual(fate({ killed: [{ pid: 50, at: 1001 }], last: heldBy(50) }), 'unaccounted');
});

test('without a fault there is no excuse', () => {
  for (const error of ['ECONNRESET', 'ended', 'hung', 'the answer of another']) {
    assert.strictEqual(fateOf({ ...broken, error }, evidence), 'unaccounted');
  }
  assert.strictEqual(fateOf({ ...broken, error: 'ECONNREFUSED' }, evidence), 'refused');
  assert.strictEqual(fateOf({ ...broken, error: 'hung', connectedAt: null }, evidence), 'unaccounted');
  assert.strictEqual(fateOf({ ...broken, complete: true, error: null }, evidence), 'answered');
});

test('only a backlog that overflows excuses a client that waits for ever, and only in the crowd before it', () => {
  const windows = [{ fault: 'backlog', from: 0, to: 500 }];
  const fate = (/** @type {object} */ client, /** @type {object} */ found = {}) =>
    fateOf({ ...broken, error: 'hung', ...client }, { ...evidence, windows, ...found });
  assert.strictEqual(fate({ crowd: true }), 'late');
  assert.strictEqual(fate({ crowd: false }), 'unaccounted');
  assert.strictEqual(fate({ crowd: true, openedAt: 9000, endedAt: 19_000 }), 'unaccounted');
  assert.strictEqual(fate({ crowd: true, endedAt: 10_000 }, { last: heldBy(50) }), 'unaccounted');
});
