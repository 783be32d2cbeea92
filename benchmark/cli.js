'use strict';

/**
 * The cost of the command: `rcluster status`, the first answer of an app that it starts, and its idle
 * primary.
 */

const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const { findExecutable } = require('../lib/cli/executable.js');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');
const { freePorts } = require('../testing/ports.js');
const { cpuBetween, threadTimes } = require('../testing/proc.js');
const { summarise } = require('../testing/stats.js');
const { print } = require('../testing/tables.js');

const COMMAND = path.join(__dirname, '..', 'bin', 'rcluster.js');

const APP = `
require('node:http').createServer((request, response) => response.end('ok')).listen(Number(process.env.PORT), '127.0.0.1');
`;

/**
 * @typedef {import('node:child_process').ChildProcess} ChildProcess
 * @typedef {{ port: number, control: string, app: string }} Place the addresses of one round
 */

run(async () => {
  const options = readOptions('Time and CPU that the command rcluster takes.', {
    rounds: flags.rounds,
    repeat: { default: 20, help: 'how often status is asked in each round' },
    seconds: { default: 5, help: 'for how long a primary at rest is looked at' },
    check: flags.check,
  });
  const machine = circumstances();
  print(describe(machine));
  /** @type {Record<'executable' | 'shell' | 'script' | 'node' | 'start' | 'late' | 'rest', number[]>} */
  const samples = { executable: [], shell: [], script: [], node: [], start: [], late: [], rest: [] };
  for (let round = 1; round <= options.rounds; round++) {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-bench-'));
    const place = { port: 0, control: path.join(directory, 'c.sock'), app: path.join(directory, 'app.js') };
    fs.writeFileSync(place.app, APP);
    try {
      samples.node.push(await firstAnswer(place, process.execPath, [place.app]));
      const args = ['start', '-w', '1', '--control', place.control, place.app];
      samples.late.push(await firstAnswer(place, process.execPath, [COMMAND, ...args]));
      samples.start.push(
        await firstAnswer(place, COMMAND, args, async ({ pid }) => {
          const ask = ['status', '--control', place.control];
          samples.executable.push(...repeat(options.repeat, findExecutable(), ask));
          samples.shell.push(...repeat(options.repeat, COMMAND, ask));
          samples.script.push(...repeat(options.repeat, process.execPath, [COMMAND, ...ask]));
          const before = threadTimes(Number(pid));
          await pause(options.seconds * 1000);
          samples.rest.push(cpuBetween(before, threadTimes(Number(pid))).total / options.seconds / 1000);
        }),
      );
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
    print(
      `round ${round}  ${Object.entries(samples)
        .map(([name, times]) => `${name} ${times.at(-1)?.toFixed(1)}`)
        .join('  ')}`,
    );
  }

  const summary = Object.fromEntries(
    Object.entries(samples).map(([name, times]) => [name, summarise(times)]),
  );
  const row = (/** @type {string} */ label, /** @type {string} */ name) => {
    const { median, min, max } = summary[name];
    return [label, `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`];
  };
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'The command',
    about:
      'Whole processes, from their start: `rcluster status`, and the first answer of an app that Node or the command starts with ' +
      'one worker. Medians, and lowest–highest.',
    tables: [
      {
        header: ['in ms', ''],
        rows: [
          row('rcluster status, the executable', 'executable'),
          row('rcluster status, by the shell script', 'shell'),
          row('rcluster status, by node bin/rcluster.js', 'script'),
          row('first answer after node app.js', 'node'),
          row('first answer after rcluster start app.js', 'start'),
          row('first answer after node bin/rcluster.js start app.js', 'late'),
          row('CPU of a primary at rest, in a second', 'rest'),
        ],
      },
    ],
    targets: [
      { name: 'rcluster status in ms', value: summary.shell.median, atMost: 15 },
      {
        name: 'first answer, ms more than node app.js',
        value: summary.start.median - summary.node.median,
        atMost: 60,
      },
      { name: 'CPU of a primary at rest, ms in a second', value: summary.rest.median, atMost: 1 },
    ],
  };
  publish('cli', section, { machine, options, summary, results: samples });
});

/**
 * @param {number} count
 * @param {string} file
 * @param {string[]} args
 * @returns {number[]} in ms
 */
function repeat(count, file, args) {
  return Array.from({ length: count }, () => {
    const start = performance.now();
    const { status, stderr } = spawnSync(file, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${file} ended with ${status}: ${stderr}`);
    return performance.now() - start;
  });
}

/**
 * The time from the start of a server to its first answer, in ms.
 * @param {Place} place
 * @param {string} file
 * @param {string[]} args
 * @param {(child: ChildProcess) => Promise<void>} [then] while it serves
 */
async function firstAnswer(place, file, args, then) {
  const [port] = await freePorts(1);
  const start = performance.now();
  const child = spawn(file, args, {
    env: { ...process.env, PATH: `${path.dirname(process.execPath)}:${process.env.PATH}`, PORT: `${port}` },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exit = once(child, 'exit');
  try {
    while (!(await answers(port))) {
      if (child.exitCode !== null) throw new Error(`${file} ${args.join(' ')} ended with ${child.exitCode}`);
      await pause(1);
    }
    const time = performance.now() - start;
    await then?.(child);
    return time;
  } finally {
    child.kill('SIGTERM');
    await exit;
  }
}

/** @param {number} port @returns {Promise<boolean>} */
function answers(port) {
  return new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, agent: false }, (response) => {
      response.resume().on('end', () => resolve(true));
    });
    request.on('error', () => resolve(false));
  });
}
