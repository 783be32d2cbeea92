'use strict';

/**
 * Lines of workers through the primary: whether all arrive, whole and in order, and what they cost the primary.
 */

const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { performance } = require('node:perf_hooks');
const { findExecutable } = require('../lib/cli/executable.js');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');
const { cpuBetween, threadTimes } = require('../testing/proc.js');
const { median, sum } = require('../testing/stats.js');
const { print } = require('../testing/tables.js');

const COMMAND = path.join(__dirname, '..', 'bin', 'rcluster.js');
const WRITER = path.join(__dirname, 'fixtures', 'line-writer.js');
const MODES = /** @type {const} */ (['inherit', 'raw', 'prefix', 'json']);
const PADDING = 'x'.repeat(80);

/**
 * @typedef {(typeof MODES)[number]} Mode
 * @typedef {object} Sample
 * @property {number} rate lines per second, from the order to write to the last line
 * @property {number} missing
 * @property {number} broken lines that no worker has written in this form, or in this order
 * @property {number} cpu of the primary, in µs per line
 */

run(async () => {
  const options = readOptions(
    'Lines of workers through the primary: whether all arrive, and what they cost.',
    {
      rounds: { ...flags.rounds, default: 3 },
      workers: { ...flags.workers, default: 4 },
      rate: { default: 100_000, help: 'lines a second, of all workers together' },
      seconds: { default: 5, help: 'for how long they write' },
      check: flags.check,
    },
  );
  const machine = circumstances();
  print(describe(machine));
  const samples = /** @type {Record<Mode, Sample[]>} */ (
    Object.fromEntries(MODES.map((mode) => [mode, /** @type {Sample[]} */ ([])]))
  );
  for (let round = 1; round <= options.rounds; round++) {
    for (const mode of MODES) {
      const sample = await measure(mode, options);
      samples[mode].push(sample);
      const { rate, missing, broken, cpu } = sample;
      print(
        `round ${round}  ${mode.padEnd(7)}  ${rate.toFixed(0)} lines/s  ${missing} missing  ${broken} broken  ` +
          `${cpu.toFixed(2)} µs of the primary per line`,
      );
    }
  }
  const through = MODES.filter((mode) => mode !== 'inherit');
  const count = (/** @type {Mode} */ mode, /** @type {'missing' | 'broken'} */ what) =>
    sum(samples[mode].map((sample) => sample[what]));
  const rate = (/** @type {Mode} */ mode) => median(samples[mode].map((sample) => sample.rate));
  const { workers, rounds, seconds } = options;
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'Logs',
    about:
      `${workers} workers write ${options.rate} lines of about 90 bytes a second together, for ${seconds} s, and a program ` +
      `reads them from the primary's stdout. With \`inherit\` they do not go through the primary. ` +
      `*Missing* and *broken* are counts of all ${rounds} rounds, the others are medians.`,
    tables: [
      {
        header: ['logs', 'lines/s', 'missing', 'broken', 'CPU µs of the primary per line'],
        rows: MODES.map((mode) => [
          mode,
          rate(mode).toFixed(0),
          `${count(mode, 'missing')}`,
          `${count(mode, 'broken')}`,
          median(samples[mode].map(({ cpu }) => cpu)).toFixed(2),
        ]),
      },
    ],
    targets: through.flatMap((mode) => [
      {
        name: `${mode}: lines missing or broken`,
        value: count(mode, 'missing') + count(mode, 'broken'),
        atMost: 0,
      },
      {
        name: `${mode}: lines/s, of ${options.rate} written`,
        value: rate(mode),
        atLeast: 0.95 * options.rate,
      },
    ]),
  };
  publish('logs', section, { machine, options, results: samples });
});

/**
 * @param {Mode} mode
 * @param {{ workers: number, rate: number, seconds: number }} options
 * @returns {Promise<Sample>}
 */
async function measure(mode, { workers, rate, seconds }) {
  const lines = Math.floor((rate * seconds) / workers);
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-bench-'));
  const control = path.join(directory, 'c.sock');
  const args = [
    'start',
    '-w',
    `${workers}`,
    '--ready',
    'explicit',
    '--logs',
    mode,
    '--control',
    control,
    WRITER,
  ];
  const child = spawn(process.execPath, [COMMAND, ...args], {
    env: { ...process.env, RATE: `${rate / workers}`, LINES: `${lines}`, PADDING },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  try {
    while (!fs.existsSync(control)) await new Promise((resolve) => setTimeout(resolve, 10));
    const { status, stdout, stderr } = spawnSync(
      findExecutable(),
      ['status', '--json', '--wait', 'ready', '--timeout', '30s', '--control', control],
      { encoding: 'utf8' },
    );
    if (status !== 0) throw new Error(stderr);
    const { slots } = JSON.parse(stdout);
    const ledger = new Ledger(mode, slots, lines);
    const before = threadTimes(Number(child.pid));
    const start = performance.now();
    for (const { pid } of slots) process.kill(pid, 'SIGUSR2');
    const elapsed = (await ledger.read(child.stdout)) - start;
    const { total } = cpuBetween(before, threadTimes(Number(child.pid)));
    const { missing, broken } = ledger;
    const received = workers * lines - missing;
    return { rate: received / (elapsed / 1000), missing, broken, cpu: total / received };
  } finally {
    child.kill('SIGTERM');
    await exit;
    fs.rmSync(directory, { recursive: true });
  }
}

/** The lines that have arrived from each worker. */
class Ledger {
  #mode;
  #lines;
  /** The next number, by worker. @type {Map<string, number>} */
  #next;
  #left;
  broken = 0;

  /** @param {Mode} mode @param {{ worker: number }[]} slots @param {number} lines of each worker */
  constructor(mode, slots, lines) {
    this.#mode = mode;
    this.#lines = lines;
    this.#next = new Map(slots.map(({ worker }) => [`${worker}`, 0]));
    this.#left = slots.length * lines;
  }

  get missing() {
    return this.#left;
  }

  /**
   * Reads until all lines have arrived, or none has for three seconds.
   *
   * @param {import('node:stream').Readable} stream
   * @returns {Promise<number>} when the last line arrived
   */
  read(stream) {
    return new Promise((resolve) => {
      let rest = '';
      let last = performance.now();
      const end = () => {
        clearInterval(timer);
        resolve(last);
      };
      const timer = setInterval(() => performance.now() - last > 3000 && end(), 100);
      stream.setEncoding('latin1').on('data', (text) => {
        last = performance.now();
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) this.#take(line);
        if (this.#left === 0) end();
      });
    });
  }

  /** @param {string} line */
  #take(line) {
    const text = this.#textOf(line);
    const [worker, number, padding] = text.split(' ');
    const next = this.#next.get(worker) ?? Infinity;
    // After a gap it continues with the line that has arrived; the missing lines stay counted.
    const isNext = Number(number) >= next && Number(number) < this.#lines;
    if (padding !== PADDING || !isNext) {
      this.broken++;
      return;
    }
    this.#next.set(worker, Number(number) + 1);
    this.#left--;
  }

  /** @param {string} line @returns {string} what the worker has written; empty if it is not what the mode makes of it */
  #textOf(line) {
    if (this.#mode === 'prefix') return /^\[slot \d+\] (.*)$/.exec(line)?.[1] ?? '';
    if (this.#mode !== 'json') return line;
    try {
      return JSON.parse(line).message;
    } catch {
      // It is counted as broken.
      return '';
    }
  }
}
