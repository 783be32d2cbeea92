'use strict';

// `rcluster top` on a terminal: its screen, its keys, and that the terminal is restored.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { until } = require('../../testing/processes.js');
const { withSupervised } = require('../../testing/supervised.js');
const { withoutPython } = require('../helpers/python.js');
const { onTerminal } = require('../helpers/terminal.js');

const skip = (isBuiltin && 'the built-in has no command') || withoutPython;
const COMMAND = path.join(__dirname, '..', '..', 'bin', 'rcluster.js');
const SIGTERM = 15;

/**
 * @param {{ workers: number } & Record<string, unknown>} options
 * @param {(app: import('../../testing/supervised.js').Supervised, terminal: any, control: string) => Promise<void>} body
 * @param {{ env?: NodeJS.ProcessEnv, size?: [number, number] }} [terminal]
 */
async function withTop(options, body, { env = {}, size } = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-top-'));
  const control = path.join(directory, 'control.sock');
  const argv = [process.execPath, COMMAND, 'top', '--control', control];
  const plain = { ...process.env, TERM: 'xterm-256color' };
  delete plain.NODE_TEST_CONTEXT;
  delete plain.NO_COLOR;
  try {
    await withSupervised({ ...options, control }, (app) =>
      onTerminal(argv, { env: { ...plain, ...env }, size }, (terminal) => body(app, terminal, control)),
    );
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** @param {{ pid: number }} worker @param {number} slot */
const row = ({ pid }, slot) => new RegExp(`^ +${slot} +${pid} serving `);

test('it shows the cluster, and keys control it', { skip }, () =>
  withTop({ workers: 2 }, async (app, terminal) => {
    const { screen } = terminal;
    await terminal.shows(new RegExp(`^rcluster .* pid ${app.pid} `));
    await terminal.shows(
      /^SLOT +PID STATE +AGE +↺ +CPU% +ELU% +DELAYp99 +RSS +OPEN +INFL +CONN\/s +FDS +LAST/,
    );
    for (const [slot, worker] of app.workers.entries()) await terminal.shows(row(worker, slot));
    await terminal.shows(
      new RegExp(`^listening +127\\.0\\.0\\.1:${app.target.port} +round-robin +2 workers`),
    );
    assert.deepStrictEqual([screen.isAlternate, screen.isCursorShown], [true, false]);
    assert.ok(screen.colours.size > 0);

    terminal.press('?');
    await terminal.shows(/restart: the new worker first/);
    terminal.press(' ');
    await terminal.shows(row(app.workers[0], 0));

    terminal.press('+');
    await terminal.shows(/^ +2 +\d+ serving/);
    await terminal.shows(/one worker more: done/);
    terminal.press('-');
    await terminal.shows(/one worker fewer: done/);
    await until('the third slot is gone', () => !screen.lines.some((line) => /^ +2 +\d+ serving/.test(line)));

    // The second slot.
    terminal.press('\x1b[B');
    terminal.press('r');
    await terminal.shows(/restart of slot 1: done/);
    await until(
      'another worker is shown',
      () => !screen.lines.some((line) => row(app.workers[1], 1).test(line)),
    );
    await terminal.shows(/^ready .*slot=1/);
    await terminal.shows(/^ +1 +\d+ serving/);

    terminal.press('d');
    await terminal.shows(/drain of slot 1\? Press d again/);
    terminal.press('d');
    await terminal.shows(/^ +1 +- stopped/);
    terminal.press('k');
    terminal.press('dd');
    await terminal.shows(/drain of slot 0: .*ERR_RCLUSTER_LAST_SLOT/);
    terminal.press('R');
    await terminal.shows(/reload: done/);
    await terminal.shows(/ generation 2 /);
    await terminal.shows(/^ +1 +\d+ serving/);

    const hung = app.ask('hang').catch(() => {});
    // One of the two has received the request.
    for (let slot = 0; ; slot = 1 - slot) {
      terminal.press('s');
      const answer = new RegExp(`┌stack of slot ${slot}|stack of slot ${slot}: .*NO_STACK`);
      await terminal.shows(answer);
      if (screen.lines.some((line) => /hang .*supervised\.js/.test(line))) break;
      terminal.press(slot === 0 ? ' j' : ' k');
    }
    terminal.press(' ');
    terminal.press('q');
    assert.deepStrictEqual(await terminal.ended(), { code: 0, same: true });
    assert.deepStrictEqual([screen.isAlternate, screen.isCursorShown], [false, true]);
    app.child.kill('SIGKILL');
    await hung;
  }),
);

test('the terminal is restored when it gets SIGTERM', { skip }, () =>
  withTop({ workers: 1 }, async (app, terminal) => {
    await terminal.shows(row(app.workers[0], 0));
    terminal.signal(SIGTERM);
    assert.deepStrictEqual(await terminal.ended(), { code: 128 + SIGTERM, same: true });
    assert.deepStrictEqual([terminal.screen.isAlternate, terminal.screen.isCursorShown], [false, true]);
  }),
);

test('the terminal is restored when the cluster ends', { skip }, () =>
  withTop({ workers: 1 }, async (app, terminal, control) => {
    await terminal.shows(row(app.workers[0], 0));
    const exit = once(app.child, 'exit');
    const client = await connect({ control });
    await client.stop();
    await exit;
    assert.deepStrictEqual(await terminal.ended(), { code: 0, same: true });
    assert.deepStrictEqual([terminal.screen.isAlternate, terminal.screen.isCursorShown], [false, true]);
    await terminal.shows(/rcluster: the cluster has ended/);
  }),
);

test('it fits a narrow terminal, follows its size, and has no colours with NO_COLOR', { skip }, () =>
  withTop(
    { workers: 1 },
    async (app, terminal) => {
      await terminal.shows(/^SLOT STATE +CPU% +ELU% +RSS +OPEN$/);
      await terminal.shows(/^ +0 serving/);
      assert.deepStrictEqual([...terminal.screen.colours], []);
      terminal.resize(30, 140);
      await terminal.shows(/^SLOT +PID STATE +AGE .* LAST/);
      terminal.press('\x03');
      assert.strictEqual((await terminal.ended()).code, 0);
    },
    { size: [14, 40], env: { NO_COLOR: '1' } },
  ),
);

test('a primary that is blocked is shown as such', { skip }, () =>
  withTop({ workers: 1 }, async (app, terminal) => {
    await terminal.shows(row(app.workers[0], 0));
    const file = app.inDirectory('go');
    app.tell('block', file);
    await app.marker('blocked');
    await terminal.shows(/ blocked \d+s/);
    terminal.press('p');
    await terminal.shows(/at block .*supervised\.js/);
    fs.writeFileSync(file, '');
    await app.marker('unblocked');
    terminal.press('q');
    await terminal.shows(/ blocked \d+ms/);
    terminal.press('q');
    assert.strictEqual((await terminal.ended()).code, 0);
  }),
);

test('without a terminal, it names the alternatives', { skip }, () => {
  const env = { ...process.env };
  delete env.NODE_TEST_CONTEXT;
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, 'top'], { env, encoding: 'utf8' });
  assert.deepStrictEqual([status, stdout], [2, '']);
  assert.match(stderr, /`top` needs a terminal; .*`rcluster status`/);
});

test('a dumb terminal is none', { skip }, () =>
  withTop(
    { workers: 1 },
    async (app, terminal) => {
      await terminal.shows(/`top` needs a terminal/);
      assert.strictEqual((await terminal.ended()).code, 2);
    },
    { env: { TERM: 'dumb' } },
  ),
);
