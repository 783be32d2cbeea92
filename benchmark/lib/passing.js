'use strict';

/**
 * Passing threads with minimal receivers, and a client whose connections arrive at random
 * times at a steady rate: benches/passing.
 */

const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { bounded } = require('./app');
const { cpuBetween, threadTimes, wakeUps } = require('../../testing/proc.js');

const STOPPED_WITHIN = 10_000;

const ROOT = path.join(__dirname, '..', '..');

/**
 * The running programs, which end with the benchmark.
 * @type {Set<import('node:child_process').ChildProcess>}
 */
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/**
 * Builds the program where its sources are newer.
 * @returns {string} its path
 */
function buildPassing() {
  const { status, stdout, stderr, error } = spawnSync(
    'cargo',
    ['bench', '--locked', '--no-run', '--bench', 'passing', '--message-format=json'],
    { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 26 },
  );
  if (error) throw error;
  if (status !== 0) throw new Error(`benches/passing could not be built:\n${stderr}`);
  const built = stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .find(({ target, executable }) => target?.name === 'passing' && executable);
  return built.executable;
}

/**
 * The kind of passing thread.
 * @typedef {'bare' | 'polled' | 'rcluster'} Way
 */

/** A passing thread and its receivers. */
class Passing {
  #program;
  #child;
  #thread;

  /**
   * @param {string} program
   * @param {Way} way
   * @param {{ workers: number, listeners: number }} shape
   */
  static async start(program, way, { workers, listeners }) {
    const child = spawn(program, ['serve', way, `${workers}`, `${listeners}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    running.add(child);
    const [line] = await once(child.stdout, 'data');
    return new Passing(program, child, JSON.parse(line), way);
  }

  /**
   * @param {string} program
   * @param {import('node:child_process').ChildProcess} child
   * @param {{ pid: number, ports: number[] }} told
   * @param {Way} way
   */
  constructor(program, child, { pid, ports }, way) {
    this.#program = program;
    this.#child = child;
    this.#thread = way === 'rcluster' ? 'rcluster-accept' : 'bare-accept';
    this.pid = pid;
    this.ports = ports;
  }

  /**
   * The resources that the passing thread used during an action, and how often it was woken.
   * @template T
   * @param {() => Promise<T>} load
   * @returns {Promise<{ result: T, cpu: number, wakes: number }>} CPU time in microseconds
   */
  async during(load) {
    const before = { times: threadTimes(this.pid), wakes: wakeUps(this.pid, this.#thread) };
    const result = await load();
    const cpu = cpuBetween(before.times, threadTimes(this.pid)).byThread[this.#thread];
    return { result, cpu, wakes: wakeUps(this.pid, this.#thread) - before.wakes };
  }

  /**
   * Connections spread over all the ports.
   * @param {{ rate: number, seconds: number, seed: number }} load
   * @returns {Promise<{ answered: number, failed: number, late: number, elapsed: number, p50: number, p99: number }>}
   *   latencies in microseconds
   */
  async connect({ rate, seconds, seed }) {
    const args = ['client', rate, seconds, seed, this.ports.join(',')].map(String);
    const client = spawn(this.#program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    running.add(client);
    let output = '';
    client.stdout.on('data', (chunk) => (output += chunk));
    const [code, signal] = await once(client, 'close');
    running.delete(client);
    if (code !== 0) throw new Error(`the client ended with ${code ?? signal}`);
    return JSON.parse(output);
  }

  async stop() {
    const exit = once(this.#child, 'exit');
    this.#child.stdin?.end();
    const [code, signal] = await bounded(exit, STOPPED_WITHIN, 'the passing program did not stop in time');
    running.delete(this.#child);
    if (code !== 0) throw new Error(`the passing program ended with ${code ?? signal}`);
  }
}

/**
 * Whether the connections of an open loop arrived on schedule. If other load on the machine has delayed the
 * clients, they arrive in bursts instead, and their cost is not comparable.
 * @param {{ late: number, answered: number }} result
 */
function keptUp({ late, answered }) {
  return late <= answered / 20;
}

module.exports = { buildPassing, keptUp, Passing };
