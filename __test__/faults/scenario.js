'use strict';

// One application under steady load and faults, from its start to the account of every client.

const { setTimeout: pause } = require('node:timers/promises');
const { createRandom } = require('../../testing/random.js');
const { descriptorsOf, isAlive, membersOf, until, zombiesOf } = require('../../testing/processes.js');
const { withFixture } = require('../helpers/run-fixture.js');
const { Clients } = require('./clients.js');
const { now } = require('./clock.js');
const { inject } = require('./injector.js');
const { account } = require('./ledger.js');
const { hasOwnNetwork, readBacklogs } = require('./network.js');
const { SteadyClients } = require('./steady.js');

/** The backlog of the second address. */
const NARROW = 16;

/** The backlog of the first address: larger than the number of clients. */
const WIDE = 4096;

/** How many pipes a forwarder keeps for later, with two descriptors each. */
const SPARE_PIPES = 16;

/**
 * @typedef {object} Options
 * @property {number} seconds of faults
 * @property {number} seed
 * @property {string} policy
 * @property {number} workers
 * @property {number} rate new clients in a second
 * @property {string[]} faults
 * @property {boolean} supervise whether workers are replaced by supervise(), or by the app
 * @property {'port' | 'path' | null} forward whether workers have addresses of their own, and of which kind
 * @property {boolean} shed whether clients beyond a short queue are answered with 503
 */

/** @param {Options} options */
function settingsOf({ policy, forward, shed }) {
  const host = '127.0.0.1';
  if (forward) {
    const both = /** @type {const} */ ({ port: 0, host, to: forward, policy });
    return {
      forward: [
        { ...both, backlog: WIDE },
        { ...both, backlog: NARROW, env: 'NARROW_PORT' },
      ],
    };
  }
  const overload = shed ? { queue: 32, deadline: 200, action: { status: 503 } } : undefined;
  return { scheduling: { policy, overload } };
}

/** @param {Options} options */
function planOf(options) {
  const often = { max: 100_000, period: 60_000 };
  const supervise = options.supervise
    ? { restartIntensity: often, totalIntensity: often, backoff: { max: 200 }, drainTimeout: 5000 }
    : null;
  return { workers: options.workers, backlogs: [WIDE, NARROW], settings: settingsOf(options), supervise };
}

/**
 * @param {Options} options
 * @returns the outcomes of all clients, and leaks
 */
function runFaults(options) {
  const { seconds, seed, workers, rate } = options;
  const deadline = 1000 * seconds + 180_000;
  const env = { PLAN: JSON.stringify(planOf(options)) };
  const file = require.resolve('./app.js');
  return withFixture(file, { env, deadline }, async (app) => {
    const cluster = new Watched(app, options);
    await until('all workers listen', () => cluster.workers().length === workers);
    const base = await settled(app, cluster, options);
    const random = createRandom(seed);
    const clients = new Clients(createRandom(random() * 2 ** 32));
    /** @type {import('./ledger').Window[]} */
    const windows = [];
    const backlogs = readBacklogs();
    const started = now();

    const world = {
      primary: app.pid,
      wanted: workers,
      workers: () => cluster.workers(),
      begin(/** @type {string} */ fault, /** @type {number | undefined} */ pid) {
        const window = { fault, pid, from: now(), to: Infinity };
        windows.push(window);
        return () => {
          window.to = now();
        };
      },
      killing: (/** @type {number} */ pid) => void cluster.killed.push({ pid, at: now() }),
      burst(/** @type {import('./clients').Kind} */ kind, /** @type {number} */ count) {
        for (let i = 0; i < count; i++) clients.start(cluster.ports[0], kind);
      },
      narrowBurst(/** @type {number} */ count) {
        for (let i = 0; i < count; i++) clients.start(cluster.ports[1], 'short', true);
      },
      async reload() {
        app.tell('reload');
        const failure = await app.marker('reloaded');
        // A reload that is disturbed by another fault may fail; the next one will not.
        if (failure) cluster.remarks.push(`a reload failed: ${failure.message}`);
      },
    };

    const steady = new SteadyClients(clients, rate, () => cluster.ports[0]);
    try {
      await inject(world, { ...options, random });
      // Clients that connect now meet no faults.
      await pause(1000);
    } finally {
      steady.stop();
    }
    const { lateness } = steady;
    await clients.over();
    await until('all workers are back', () => cluster.workers().length === workers);
    const leaks = await leaksOf(app, cluster, base, options);
    const after = readBacklogs();
    const overflowed = {
      overflows: after.overflows - backlogs.overflows,
      drops: after.drops - backlogs.drops,
    };
    const { killed, overdue, remarks } = cluster;
    remarks.push(`the clients' own process was blocked for up to ${Math.round(lateness)} ms`);
    const passing = options.forward === null && !['kernel', 'none'].includes(options.policy);
    const take = async () => {
      const evidence = { killed, overdue, windows, lateness, passing, forward: options.forward !== null };
      const { pid: primary, directory } = app;
      const before = account(clients.records, { ...evidence, primary, directory, overflowed });
      app.tell('figures');
      const figures = await app.marker('figures');
      return {
        ...before,
        figures,
        miscounted: options.forward || passing ? miscounted(before, figures) : [],
      };
    };
    // The kernel still accepts some clients that gave up long ago, so the two may differ for a moment.
    let result = await take();
    for (let tries = 0; result.miscounted.length > 0 && tries < 20; tries++) {
      await pause(250);
      result = await take();
    }
    const since = (/** @type {number} */ time) => Math.round(time - started);
    const details = result.unaccounted.map((record) => {
      const { kind, crowd, error, address, openedAt, connectedAt, endedAt } = record;
      const recent = windows.filter((it) => it.from <= endedAt && it.to >= endedAt - 2000);
      return {
        what: `${crowd ? 'crowd' : kind} from ${address}: ${error}`,
        opened: since(openedAt),
        connected: connectedAt && since(connectedAt),
        ended: since(endedAt),
        notes: result.notesOf(record).map(({ pid, at, what }) => `${what} ${pid} at ${since(at)}`),
        recent: recent.map(({ fault, pid, from, to }) => `${fault} ${pid} ${since(from)}-${since(to)}`),
        primary: app.pid,
      };
    });
    const repeated = result.repeated.map(({ id, number, by }) => {
      const { kind, crowd } = clients.records[id];
      const workers = by.map(({ pid, at }) => `${pid} at ${since(at)}`);
      return { what: `request ${number} of ${crowd ? 'crowd' : kind} ${id}`, workers };
    });
    return { ...result, details, repeated, leaks, remarks, ownNetwork: hasOwnNetwork() };
  });
}

/**
 * Whether the number of clients that the primary has accepted is not as expected. This distinguishes clients
 * that the system did not accept from those that the primary has lost.
 * @param {{ accepted: { least: number, most: number }[] }} account
 * @param {any} figures
 */
function miscounted({ accepted: expected }, figures) {
  /** @type {number[]} */
  const accepted = (figures.listeners ?? figures).map((it) => it.accepted);
  return accepted.flatMap((count, at) =>
    count >= expected[at].least && count <= expected[at].most
      ? []
      : [`address ${at + 1} accepted ${count}, not ${expected[at].least} to ${expected[at].most}`],
  );
}

/** The primary's statistics of its workers. */
class Watched {
  /** The workers that listen, and the number of their servers. @type {Map<number, number>} */
  #listening = new Map();
  /** @type {number[]} */
  ports = [];
  /** @type {import('./ledger').Death[]} */
  killed = [];
  /** @type {import('./ledger').Death[]} */
  overdue = [];
  /** @type {string[]} */
  remarks = [];

  /**
   * @param {InstanceType<typeof import('../../testing/fixture.js').Fixture>} app
   * @param {Options} options
   */
  constructor(app, options) {
    this.app = app;
    this.forward = options.forward;
  }

  workers() {
    // Marks for which a test waits stay.
    this.app.marks = this.app.marks.filter((it) => !this.#hear(it.mark, it.data));
    return [...this.#listening].filter(([, servers]) => servers === 2).map(([pid]) => pid);
  }

  /** Whether a fault of this run ends the process. @param {number} pid */
  #isOurs(pid) {
    return [...this.killed, ...this.overdue].some((it) => it.pid === pid);
  }

  /**
   * @param {string} mark
   * @param {any} data
   */
  #hear(mark, data) {
    switch (mark) {
      case 'forwarding':
        this.ports = data.map(({ address }) => address.port);
        return true;
      case 'listening': {
        const servers = (this.#listening.get(data.pid) ?? 0) + 1;
        this.#listening.set(data.pid, servers);
        if (!this.forward) this.ports[servers - 1] ??= data.port;
        return true;
      }
      case 'exit': {
        this.#listening.delete(data.pid);
        if (!this.#isOurs(data.pid) && data.code !== 0) {
          this.remarks.push(`a worker ended: ${JSON.stringify(data)}`);
        }
        return true;
      }
      case 'restart':
        if (!this.#isOurs(data.pid)) this.remarks.push(`a restart: ${JSON.stringify(data)}`);
        return true;
      case 'drain-timeout':
        this.overdue.push(data);
        this.remarks.push('a worker had not finished within its drain timeout');
        return true;
      case 'warning':
      case 'gave-up':
        this.remarks.push(`${mark}: ${JSON.stringify(data)}`);
        return true;
      default:
        return false;
    }
  }
}

/**
 * The resources of the primary and its workers, once they no longer change.
 * @param {InstanceType<typeof import('../../testing/fixture.js').Fixture>} app
 * @param {Watched} cluster
 * @param {Options} options
 */
async function settled(app, cluster, options) {
  let before = '';
  return until('nothing changes any more', async () => {
    const census = count(app, cluster, options);
    const text = JSON.stringify(census);
    const same = text === before;
    before = text;
    if (!same) await pause(100);
    return same && census;
  });
}

/**
 * @param {InstanceType<typeof import('../../testing/fixture.js').Fixture>} app
 * @param {Watched} cluster
 * @param {Options} options
 */
function count(app, cluster, { forward }) {
  const held = (/** @type {number} */ pid) => {
    const all = [...descriptorsOf(pid).values()];
    const pipes = all.filter((it) => it.startsWith('pipe:')).length;
    return { pipes, others: all.length - pipes };
  };
  const spare = forward ? 2 * SPARE_PIPES : 0;
  const workers = cluster.workers().filter(isAlive).map(held);
  return {
    primary: held(app.pid),
    spare,
    workers: {
      pipes: Math.max(...workers.map(({ pipes }) => pipes)),
      others: Math.max(...workers.map(({ others }) => others)),
    },
    processes: membersOf(app.pid).length,
    zombies: zombiesOf(app.pid),
  };
}

/**
 * The resources beyond those at the beginning. They may take a moment to be freed; what stays is a leak.
 * @param {InstanceType<typeof import('../../testing/fixture.js').Fixture>} app
 * @param {Watched} cluster
 * @param {ReturnType<typeof count>} base
 * @param {Options} options
 * @returns {Promise<string[]>}
 */
async function leaksOf(app, cluster, base, options) {
  /** @type {string[]} */
  let leaks = [];
  const look = () => {
    const census = count(app, cluster, options);
    const more = (/** @type {string} */ what, /** @type {number} */ now, /** @type {number} */ before) =>
      now > before ? [`${what}: ${before} before, ${now} after`] : [];
    leaks = [
      ...more('descriptors of the primary', census.primary.others, base.primary.others),
      ...more('pipes of the primary', census.primary.pipes, base.primary.pipes + base.spare),
      ...more('descriptors of a worker', census.workers.others, base.workers.others),
      ...more('pipes of a worker', census.workers.pipes, base.workers.pipes),
      ...more('processes', census.processes, base.processes),
      ...more('zombies', census.zombies, base.zombies),
    ];
    return leaks.length === 0;
  };
  await until('everything is released', look, 20_000).catch(() => {});
  return leaks;
}

module.exports = { SPARE_PIPES, runFaults };
