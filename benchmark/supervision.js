'use strict';

/**
 * The effect on clients while a supervised cluster recovers, and how fast it does: reloads, exceptions,
 * kills, blocked workers, leaks, and a script that dies at once. The faults are those of the tests, but more
 * of them, and timed.
 */

const fs = require('node:fs');
const os = require('node:os');
const { setTimeout: delay } = require('node:timers/promises');
const supervised = require('../testing/supervised.js');
const { HttpLoad } = require('../testing/http-load.js');
const { exchange } = require('../testing/clients.js');
const { allProcesses, isAlive, statusOf } = require('../testing/processes.js');
const { threadTimes, cpuBetween } = require('../testing/proc.js');
const { run } = require('./lib/main');
const { flags, readOptions } = require('./lib/options');
const { circumstances, describe } = require('./lib/report');
const { publish } = require('./lib/section');
const { print } = require('../testing/tables.js');
const { percentile } = require('../testing/stats.js');

const CRASH = require.resolve('../testing/apps/fates/crash');

/**
 * Like that of the tests, with longer limits.
 * @type {typeof supervised.withSupervised}
 */
const withSupervised = (options, body, fixtureOptions) =>
  supervised.withSupervised(options, body, { deadline: 300_000, ...fixtureOptions });

/**
 * @param {number} pid
 * @returns {number} 0 if there is no such process
 */
function threadsOf(pid) {
  try {
    return fs.readdirSync(`/proc/${pid}/task`).length;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT') return 0;
    throw error;
  }
}

/**
 * Looks for new child processes. A look takes a fraction of a millisecond, so that it can be repeated without
 * a pause: the start time that the kernel records has a resolution of 10 ms.
 * @param {number} parent
 * @returns {() => boolean} whether the parent has another child
 */
function newChildrenOf(parent) {
  const known = new Set(allProcesses());
  return () =>
    allProcesses().some((pid) => {
      if (known.has(pid)) return false;
      known.add(pid);
      return statusOf(pid)?.parent === parent;
    });
}

/** @param {number[]} values in ms */
const summary = (values) =>
  `median ${percentile(values, 50).toFixed(1)} ms, worst ${Math.max(...values).toFixed(1)} ms of ${values.length}`;

/** @param {HttpLoad} load */
async function result(load) {
  const failures = await load.stop();
  return `${load.answered} answered, failed: ${JSON.stringify(failures)}`;
}

/** @type {Record<string, (options: { rate: number }) => Promise<string>>} */
const PARTS = {
  /** Rolling reload of 4 workers, ten times. */
  async reload({ rate }) {
    return withSupervised({ workers: 4 }, async (app) => {
      const load = new HttpLoad(app.target, { rate });
      for (let count = 0; count < 10; count++) {
        app.tell('reload');
        await app.marker('done');
      }
      return `10 reloads of 4 workers: ${await result(load)}`;
    });
  },

  /** An uncaught exception in 1 of 200 requests, for ten seconds. */
  async exceptions({ rate }) {
    return withSupervised({ workers: 4 }, async (app) => {
      let thrown = 0;
      const load = new HttpLoad(app.target, {
        rate,
        path: (number) => (number % 200 === 199 && ++thrown ? '/throw' : '/who'),
      });
      let least = 4;
      for (const end = performance.now() + 10_000; performance.now() < end;) {
        app.tell('stats');
        least = Math.min(least, (await app.marker('stats')).ready);
      }
      return `${thrown} of them threw, never fewer than ${least} of 4 ready: ${await result(load)}`;
    });
  },

  /** SIGKILL, and how long until the replacement is started. */
  async kill() {
    return withSupervised({ workers: 2 }, async (app) => {
      const ends = [];
      const delays = [];
      let [{ pid }] = app.workers;
      for (let count = 0; count < 20; count++) {
        while (app.marks.some(({ mark }) => mark === 'spawn')) await app.marker('spawn');
        const killed = performance.now();
        process.kill(pid, 'SIGKILL');
        // The kernel needs time to free the memory of a process: until then it is not dead.
        while (isAlive(pid));
        const dead = performance.now();
        const spawn = await app.marker('spawn');
        ends.push(dead - killed);
        delays.push(performance.now() - dead);
        ({ pid } = spawn);
        await app.marker('listening');
        // Long enough not to count as a crash loop.
        await delay(1200);
      }
      return `SIGKILL to death ${summary(ends)}; death to the news of the replacement's start ${summary(delays)}`;
    });
  },

  /** The same with the primary's JavaScript blocked, until there is a new process. */
  async blocked() {
    return withSupervised({ workers: 1 }, async (app) => {
      const file = app.inDirectory('go on');
      const ends = [];
      const delays = [];
      // Polling without a pause takes one CPU, and the blocked primary another, so the watcher lowers its
      // priority.
      os.setPriority(os.constants.priority.PRIORITY_LOW);
      let [{ pid }] = app.workers;
      for (let count = 0; count < 20; count++) {
        app.tell('block', file);
        await app.marker('blocked');
        const isNew = newChildrenOf(app.pid);
        const killed = performance.now();
        process.kill(pid, 'SIGKILL');
        // The kernel needs time to free the memory of a process, and reports its death after that of its last thread.
        while (isAlive(pid) || threadsOf(pid) > 1);
        const dead = performance.now();
        while (!isNew());
        ends.push(dead - killed);
        delays.push(performance.now() - dead);
        // The request waits in the backlog and is answered by the replacement.
        ({ pid } = await app.who());
        fs.writeFileSync(file, '');
        await app.marker('unblocked');
        fs.rmSync(file);
        await delay(1200);
      }
      return `with the primary's JavaScript blocked, SIGKILL to death ${summary(ends)}; death to a new process ${summary(delays)}`;
    });
  },

  /** SIGKILL of the only worker with a standby, and how long until the next connection is answered. */
  async standby() {
    return withSupervised({ workers: 1, standby: 1 }, async (app) => {
      const delays = [];
      let [{ pid }] = app.workers;
      for (let count = 0; count < 20; count++) {
        while ((await app.marker('ready')).slot !== null);
        await app.who();
        process.kill(pid, 'SIGKILL');
        while (isAlive(pid));
        const dead = performance.now();
        const answer = await app.who();
        delays.push(performance.now() - dead);
        if (answer.pid === pid) throw new Error('answered by the dead');
        ({ pid } = answer);
      }
      return `with a standby, death to an answer on a new connection: ${summary(delays)}`;
    });
  },

  /** An endless loop, and the time until it is detected and its successor is started. */
  async hang({ rate }) {
    const limit = 1000;
    return withSupervised({ workers: 4, unresponsiveAfter: limit }, async (app) => {
      const delays = [];
      let stacks = 0;
      for (let count = 0; count < 5; count++) {
        while (app.marks.some(({ mark }) => mark === 'spawn')) await app.marker('spawn');
        const begun = performance.now();
        const lost = exchange(app.target, 'GET /hang HTTP/1.1\r\nHost: x\r\n\r\n');
        await app.marker('spawn');
        delays.push(performance.now() - begun - limit);
        if (/ hang /.test((await app.marker('unresponsive')).stack ?? '')) stacks++;
        await lost;
        await app.marker('exit');
      }
      const load = new HttpLoad(app.target, { rate });
      await load.answers(100);
      return `endless loop: successor started after the limit by ${summary(delays)}, ${stacks} stacks; then ${await result(load)}`;
    });
  },

  /** A worker that leaks 20 MB/s with a limit of 200 MB, under load. */
  async leak({ rate }) {
    return withSupervised({ workers: 2, recycle: { memory: 200 << 20 } }, async (app) => {
      const load = new HttpLoad(app.target, { rate });
      const leak = setInterval(() => {
        // 2 MB to one worker or the other, 20 times a second.
        void exchange(app.target, 'GET /leak/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      }, 50);
      const values = [];
      while (values.length < 4) values.push((await app.marker('recycle')).value / 1e6);
      clearInterval(leak);
      for (let count = 0; count < 4; count++) await app.marker('exit');
      return `recycled at ${values.map((value) => value.toFixed(0)).join(', ')} MB: ${await result(load)}`;
    });
  },

  /** A script that dies at once, until the primary gives up and ends. */
  async crash() {
    const lines = [];
    for (const [name, given] of Object.entries({
      'with 5 restarts a minute': { workers: 1, restartIntensity: { max: 5, period: 60_000 } },
      'with the defaults': { workers: 1 },
    })) {
      const line = await withSupervised(
        given,
        async (app) => {
          const start = performance.now();
          const before = threadTimes(app.pid);
          // The CPU times of a process disappear with it, so the last reading counts.
          let last = before;
          while (!app.exit) {
            if (isAlive(app.pid)) last = threadTimes(app.pid);
            await Promise.race([app.exited, delay(100)]);
          }
          const seconds = (performance.now() - start) / 1000;
          const cpu = cpuBetween(before, last).total / 1e6;
          const spawns = app.marks.filter(({ mark }) => mark === 'spawn').length;
          return (
            `${name}: ${spawns} starts in ${seconds.toFixed(0)} s, then exit code ${app.exit.code}; ` +
            `the primary used ${((cpu / seconds) * 100).toFixed(1)} % of a CPU`
          );
        },
        { listen: false, env: { FATE: CRASH } },
      );
      lines.push(line);
    }
    return lines.join('; ');
  },
};

run(async () => {
  const options = readOptions('How a supervised cluster mends itself.', {
    rate: { default: 500, help: 'requests a second, every second one on a kept connection' },
    check: flags.check,
    only: { default: '', help: `parts to run, comma-separated: ${Object.keys(PARTS).join(', ')}` },
  });
  const machine = circumstances();
  print(describe(machine));
  const chosen = options.only === '' ? Object.keys(PARTS) : options.only.split(',');
  /** @type {{ part: string, result: string }[]} */
  const results = [];
  for (const part of chosen) {
    if (!(part in PARTS)) throw new Error(`there is no part ${part}`);
    const result = await PARTS[part](options);
    print(`${part.padEnd(12)} ${result}`);
    results.push({ part, result });
  }
  /** @type {import('./lib/section').Section} */
  const section = {
    title: 'A supervised cluster that mends itself',
    about:
      'What clients notice of reloads, exceptions, kills, blocked workers, leaks and a script that dies at once, and how soon ' +
      `a worker is replaced. Where there is load, it is ${options.rate} requests a second, every second one on a kept connection.`,
    tables: [{ header: ['', 'result'], rows: results.map(({ part, result }) => [part, result]) }],
    targets: [],
  };
  publish('supervision', section, { machine, options, results });
});
