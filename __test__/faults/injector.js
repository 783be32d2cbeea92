'use strict';

// Faults, in an order and at times that a seed determines. They may overlap, but not with another of the same
// kind.

const { execFile } = require('node:child_process');
const { setTimeout: pause } = require('node:timers/promises');
const { promisify } = require('node:util');
const { limitOfFiles } = require('../../testing/files.js');
const { createRandom } = require('../../testing/random.js');
const { descriptorsOf, isAlive, statusOf, until } = require('../../testing/processes.js');
const { now } = require('./clock.js');

const run = promisify(execFile);

/**
 * The targets of a fault.
 * @typedef {object} World
 * @property {number} primary its pid
 * @property {() => number[]} workers pids of those that listen
 * @property {number} wanted the number of workers there should be
 * @property {(fault: string, pid?: number) => () => void} begin records a fault until the returned function is called
 * @property {(pid: number) => void} killing records which process is about to be killed
 * @property {(kind: import('./clients').Kind, count: number) => void} burst new clients, all at once
 * @property {(count: number) => void} narrowBurst the same at the address with the small backlog
 * @property {() => Promise<void>} reload
 */

/**
 * A fault takes effect, and is over when the promise is settled. `random` is used for all numbers at the start, so that later faults
 * do not depend on the outcome.
 * @typedef {(world: World, random: () => number) => Promise<void>} Fault
 */

/** @param {number} pid @param {NodeJS.Signals} signal @param {World} world */
function signal(pid, signal, { primary }) {
  // A process that has ended meanwhile may have left its id to another process.
  if (statusOf(pid)?.session === primary) process.kill(pid, signal);
}

/** @template T @param {readonly T[]} items @param {number} number of [0, 1) */
const pick = (items, number) => items[Math.floor(number * items.length)];

/** @type {Record<string, Fault>} */
const FAULTS = {
  async kill(world, random) {
    const which = random();
    // Not the last one: clients without any worker are a different case.
    const workers = world.workers();
    if (workers.length < 2) return;
    const victim = pick(workers, which);
    const end = world.begin('kill', victim);
    world.killing(victim);
    signal(victim, 'SIGKILL', world);
    await until('the killed worker is gone', () => !world.workers().includes(victim));
    end();
    await until('it has been replaced', () => world.workers().length >= world.wanted);
  },

  async stop(world, random) {
    const [whom, which, time] = [random(), random(), random()];
    const pid = whom < 0.4 ? world.primary : pick(world.workers(), which);
    if (!pid) return;
    const end = world.begin('stop', pid);
    signal(pid, 'SIGSTOP', world);
    await pause(20 + 380 * time);
    signal(pid, 'SIGCONT', world);
    end();
  },

  async descriptors(world, random) {
    const [whom, which, spare, time] = [random(), random(), random(), random()];
    const pid = whom < 0.5 ? world.primary : pick(world.workers(), which);
    if (!pid || !isAlive(pid)) return;
    const before = limitOfFiles(pid);
    const limit = async (/** @type {number} */ files) => {
      if (statusOf(pid)?.session !== world.primary) return;
      // A worker may end in between.
      await run('prlimit', ['--pid', `${pid}`, `--nofile=${files}:`]).catch((error) => {
        if (isAlive(pid)) throw error;
      });
    };
    const end = world.begin('descriptors', pid);
    await limit(descriptorsOf(pid).size + Math.floor(4 * spare));
    await pause(100 + 500 * time);
    await limit(before);
    end();
  },

  async backlog(world, random) {
    const time = random();
    const workers = world.workers();
    const end = world.begin('backlog');
    for (const pid of workers) signal(pid, 'SIGSTOP', world);
    world.narrowBurst(800);
    await pause(100 + 400 * time);
    for (const pid of workers) signal(pid, 'SIGCONT', world);
    end();
  },

  async slow(world, random) {
    const count = 20 + Math.floor(40 * random());
    const end = world.begin('slow');
    world.burst('typing', count);
    world.burst('reading', count);
    await pause(500);
    end();
  },

  async reload(world) {
    const end = world.begin('reload');
    await world.reload();
    end();
  },
};

/**
 * @param {World} world
 * @param {{ faults: string[], random: () => number, seconds: number }} options
 */
async function inject(world, { faults, random, seconds }) {
  const end = now() + 1000 * seconds;
  /** @type {Map<string, Promise<unknown>>} */
  const running = new Map();
  /** @type {Error[]} */
  const failures = [];
  for (;;) {
    await pause(100 + 900 * random());
    if (now() > end) break;
    const name = pick(faults, random());
    // A separate generator for each fault, so that the order stays the same however long they take.
    const own = createRandom(2 ** 32 * random());
    if (running.has(name)) continue;
    const over = FAULTS[name](world, own).then(
      () => running.delete(name),
      (error) => failures.push(error),
    );
    running.set(name, over);
  }
  await Promise.all(running.values());
  if (failures.length > 0) throw failures[0];
}

module.exports = { FAULTS, inject };
