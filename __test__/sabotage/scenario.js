'use strict';

// One application, and one saboteur after the other in it. Honest workers and their clients run all the time.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const { limitFiles, limitOfFiles } = require('../../testing/files.js');
const { createRandom } = require('../../testing/random.js');
const { percentile } = require('../../testing/stats.js');
const { threadTimes } = require('../../testing/proc.js');
const { descriptorsOf, isAlive, until, zombiesOf } = require('../../testing/processes.js');
const { Fixture } = require('../helpers/run-fixture.js');
const { Clients } = require('../faults/clients.js');
const { now } = require('../faults/clock.js');
const { readNotes } = require('../faults/ledger.js');
const { SPARE_PIPES } = require('../faults/scenario.js');
const { SteadyClients } = require('../faults/steady.js');
const { WAYS } = require('./ways');

/** How connections get to workers. */
const POLICIES = /** @type {const} */ ([
  'round-robin',
  'kernel',
  'sticky',
  'least-loaded',
  'none',
  'forward-port',
  'forward-path',
  'custom',
]);

/** In ms: how long until a client counts as hung, and how long the primary may take for operations that take milliseconds. */
const PATIENCE = 20_000;
const PROMPT = 15_000;

/** The maximum growth of the primary after a way, and during it, in bytes. */
const GROWTH = 64 << 20;
const PEAK = 256 << 20;

/** How long it may take until the end of a process reaches a client, or this one. In ms. */
const NEWS = 500;

/** A native thread that uses more than this fraction of a CPU after the saboteur has ended is spinning. */
const SPINS = 0.5;

/**
 * @typedef {typeof POLICIES[number]} Policy
 *
 * @typedef {object} Options
 * @property {string[]} ways
 * @property {Policy} policy
 * @property {number} seconds of sabotage in each way
 * @property {number} quiet seconds before it in each way
 * @property {number} rate new clients in a second
 * @property {number} workers honest ones
 * @property {number} seed
 */

/**
 * @typedef {object} Row the result of a way
 * @property {string} way
 * @property {Policy} policy
 * @property {number} clients of others
 * @property {number} failed of those
 * @property {number} own clients that the saboteur had and that failed
 * @property {number | null} p99 of short clients of others, in ms
 * @property {number | null} quiet the same before the sabotage, over all ways so far
 * @property {Record<string, number>} cpu shares of one CPU that the primary's threads used
 * @property {number} peak the growth of the primary during the attack, in bytes
 * @property {number} growth the growth afterwards
 * @property {boolean} noticed whether the primary warned of the saboteur
 * @property {string[]} problems
 */

/** @param {Policy} policy @param {string} name */
function fits(policy, name) {
  const isForward = policy.startsWith('forward');
  switch (WAYS[name].policies) {
    case 'passing':
      return !isForward && policy !== 'kernel' && policy !== 'none';
    case 'listening':
      return policy === 'kernel' || policy === 'none';
    case 'kernel':
      return policy === 'kernel';
    case 'forward':
      return isForward;
    default:
      return true;
  }
}

/** @param {Policy} policy */
function settingsOf(policy) {
  const host = '127.0.0.1';
  if (policy.startsWith('forward')) {
    return { forward: { port: 0, host, to: policy.slice('forward-'.length) } };
  }
  return policy === 'custom' ? {} : { scheduling: { policy } };
}

/** Compiles syscalls.c into a directory, which is to be removed. */
function compile() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-sabotage-'));
  const helper = path.join(directory, 'syscalls');
  const source = path.join(__dirname, 'syscalls.c');
  const { status, error, stderr } = spawnSync('cc', ['-O1', '-pthread', '-o', helper, source], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`syscalls.c cannot be compiled by cc: ${error?.message ?? stderr}`);
  return { helper, directory };
}

/** @param {number} pid @returns {number} bytes; 0 for a process that has ended */
function residentOf(pid) {
  if (!isAlive(pid)) return 0;
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** @param {number[]} times @returns {number | null} */
function p99(times) {
  return times.length === 0 ? null : Math.round(percentile(times, 99));
}

/** The application with its clients. */
class Application {
  /** The ports of workers that listen, by id. @type {Map<number, number>} */
  listening = new Map();
  /** @type {{ id: number, pid: number, code: number | null, signal: string | null, at: number }[]} */
  exits = [];
  /** @type {string[]} */
  warnings = [];
  /** @type {any[]} */
  said = [];
  /** @type {number | undefined} */
  port;
  /** Whether no new clients come. */
  isPaused = true;
  /** Of short clients in quiet times, in ms. @type {number[]} */
  quiet = [];
  /** Sockets that replace those which were shut down, and are not in a count of descriptors yet. */
  replacements = 0;

  /** @param {Options} options @param {string} helper */
  constructor(options, helper) {
    this.options = options;
    const { policy, workers } = options;
    const plan = { workers, settings: settingsOf(policy), choose: policy === 'custom' };
    this.fixture = new Fixture(
      require.resolve('./app.js'),
      {
        env: { PLAN: JSON.stringify(plan), HELPER: helper },
        deadline: 120_000 * (options.ways.length + 1),
      },
      { ipc: true },
    );
    this.pid = this.fixture.pid;
    this.clients = new Clients(createRandom(options.seed), PATIENCE);
    this.steady = new SteadyClients(this.clients, options.rate, () =>
      this.isPaused || this.fixture.exit ? undefined : this.port,
    );
  }

  /** Waits until a condition holds, which may depend on the messages of the primary so far. @param {string} what @param {() => unknown} is */
  async heard(what, is) {
    return until(
      what,
      () => {
        if (this.fixture.exit) {
          const { code, signal } = this.fixture.exit;
          throw new Error(
            `the primary has ended with ${code ?? signal}: ${this.fixture.stderr.trim().slice(-600)}`,
          );
        }
        this.hear();
        return is();
      },
      PROMPT,
    );
  }

  /** Has one more worker for a moment, since what is opened for a slot (under the policy kernel) stays. */
  async openSlot() {
    const { workers } = this.options;
    this.fixture.tell('fork');
    await this.heard('one more listens', () => this.listening.size > workers);
    const [id] = [...this.listening.keys()].slice(-1);
    this.fixture.tell('kill', id);
    await this.heard('it has ended', () => this.exits.some((it) => it.id === id));
  }

  hear() {
    for (const { mark, data } of this.fixture.marks.splice(0)) {
      if (mark === 'listening') {
        this.listening.set(data.id, data.pid);
        if (!this.options.policy.startsWith('forward')) this.port ??= data.port;
      } else if (mark === 'forwarding') this.port = data[0].address.port;
      else if (mark === 'exit') {
        this.listening.delete(data.id);
        this.exits.push(data);
      } else if (mark === 'warning') {
        this.warnings.push(data.message);
        // It is replaced by a socket that stays, once for each listener.
        if (data.message.includes('shut down its listening socket')) this.replacements++;
      } else this.said.push(mark === 'said' ? data : { [mark]: data });
    }
  }

  /**
   * Descriptors of the primary. A forwarder has two for each client, so there must be none.
   */
  async settledDescriptors() {
    if (!this.options.policy.startsWith('forward')) return this.descriptors();
    this.isPaused = true;
    await this.clients.over();
    return this.descriptors();
  }

  /** Descriptors of the primary, without the pipes that a forwarder keeps. */
  descriptors() {
    const all = [...descriptorsOf(this.pid).values()];
    const pipes = all.filter((it) => it.startsWith('pipe:')).length;
    const isForward = this.options.policy.startsWith('forward');
    return all.length - (isForward ? Math.min(pipes, 2 * SPARE_PIPES) : 0);
  }

  /** CPU time of the primary's threads since an earlier snapshot, as shares of one CPU. */
  async busy(/** @type {number} */ seconds) {
    const [before, from] = [threadTimes(this.pid), now()];
    let peak = 0;
    while (now() - from < seconds * 1000 && isAlive(this.pid)) {
      await pause(50);
      peak = Math.max(peak, residentOf(this.pid));
    }
    /** @type {Record<string, number>} */
    const shares = {};
    if (!isAlive(this.pid)) return { shares, peak };
    for (const [tid, { name, ns }] of threadTimes(this.pid)) {
      const share = (ns - (before.get(tid)?.ns ?? 0)) / 1e6 / (now() - from);
      shares[name] = Math.max(shares[name] ?? 0, share);
    }
    return { shares, peak };
  }

  async end() {
    this.steady.stop();
    await this.clients.over();
    await this.fixture.dispose();
  }
}

/**
 * One saboteur, from its start to the account of the clients that were there.
 * @param {Application} app
 * @param {string} way
 * @returns {Promise<Row>}
 */
async function tryWay(app, way) {
  const { policy, seconds, quiet, workers } = app.options;
  /** @type {Row} */
  const row = {
    way,
    policy,
    clients: 0,
    failed: 0,
    own: 0,
    p99: null,
    quiet: null,
    cpu: {},
    peak: 0,
    growth: 0,
    noticed: false,
    problems: [],
  };
  const problem = (/** @type {string} */ text) => void row.problems.push(text);
  const { records } = app.clients;
  const honest = new Set(app.listening.keys());
  let [before, base, limit] = [0, 0, NaN];
  /** When the primary reported the end of the saboteur. */
  let diedAt = NaN;
  let killedAt = Infinity;
  let [id, pid, from, to] = [NaN, NaN, Infinity, Infinity];
  try {
    base = await app.settledDescriptors();
    limit = limitOfFiles(app.pid);
    app.isPaused = false;
    await app.busy(quiet);
    before = residentOf(app.pid);
    const started = now();
    app.fixture.tell('saboteur');
    await app.heard('the saboteur listens', () => [...app.listening.keys()].some((it) => !honest.has(it)));
    [id, pid] = [...app.listening].find(([it]) => !honest.has(it));
    const calm = records.filter((it) => it.kind === 'short' && it.complete && it.endedAt <= started);
    app.quiet = calm.slice(-500).map((it) => it.endedAt - it.openedAt);
    row.quiet = p99(app.quiet);

    app.warnings = [];
    app.said = [];
    from = now();
    app.fixture.tell('sabotage', { id, name: way });
    await app.heard('the saboteur begins', () => app.said.includes('begins'));
    const { shares, peak } = await app.busy(seconds);
    row.cpu = shares;
    row.peak = peak - before;
    await app.heard('the marks of the primary', () => true);
    const failed = app.said.find((it) => it?.failed);
    if (failed) problem(`it could not be tried: ${failed.failed}`);
    if (WAYS[way].noticed) {
      await app
        .heard('a warning', () => app.warnings.some((it) => new RegExp(`\\b${id}\\b`).test(it)))
        .catch((error) => problem(`it is not noticed: ${error.message}`));
    }
    killedAt = now();
    app.fixture.tell('kill', id);
    // A saboteur may lower the primary's limit, which would hold for the ways after it.
    if (limitOfFiles(app.pid) !== limit) limitFiles(app.pid, limit);
    await app.heard('the end of the saboteur is told', () => app.exits.some((it) => it.id === id));
    diedAt = app.exits.find((it) => it.id === id).at;
    to = now();
    app.said = [];
    app.fixture.tell('ping');
    await app.heard("the primary's event loop turns", () => app.said.some((it) => it?.pong));
    const after = await app.busy(0.5);
    for (const [name, share] of Object.entries(after.shares)) {
      if (name.startsWith('rcluster') && share > SPINS) {
        problem(`${name} spins afterwards: ${Math.round(share * 100)} %`);
      }
    }
  } catch (error) {
    problem(error.message);
    to = Math.min(to, now());
  }
  row.noticed = app.warnings.some((it) => new RegExp(`\\b${id}\\b`).test(it));

  await until(
    'its clients are done',
    () => records.every((it) => it.openedAt > to || it.endedAt),
    PATIENCE + PROMPT,
  );
  const { holders, namelessBy, repeated } = readNotes(app.fixture.directory, records);
  const there = records.filter((it) => it.openedAt <= to && it.endedAt >= from);
  const holderOf = (/** @type {import('../faults/clients').Record} */ record) =>
    holders
      .get(record.id)
      ?.filter(({ at }) => at <= record.endedAt)
      .at(-1)?.pid;
  // Behind a forwarder, a worker cannot identify a client before its request; but it counts its connections.
  let unseen = policy.startsWith('forward') ? (namelessBy.get(pid) ?? 0) : 0;
  const isClosed = (/** @type {import('../faults/clients').Record} */ { error }) =>
    policy.startsWith('forward') && WAYS[way].closes === true && error === 'ECONNRESET';
  // It may have accepted a client without having time to record it; or the client waits at the worker's own address.
  const endedWithIt = (/** @type {import('../faults/clients').Record} */ { endedAt }) =>
    endedAt > Math.min(killedAt, diedAt - NEWS) && endedAt < diedAt + NEWS;
  const times = [];
  for (const record of there) {
    const holder = holderOf(record);
    const isFine = record.complete && record.error === null;
    if (holder === pid) {
      if (!isFine) row.own++;
      continue;
    }
    if (isFine) {
      row.clients++;
      if (record.kind === 'short' && record.openedAt >= from) times.push(record.endedAt - record.openedAt);
    } else if (
      holder === undefined &&
      (WAYS[way].holds || isClosed(record) || endedWithIt(record) || unseen-- > 0)
    ) {
      row.own++;
    } else {
      row.clients++;
      row.failed++;
      const by = holder === undefined ? 'nobody' : `worker ${holder}`;
      if (row.failed <= 3) {
        const time = (/** @type {number | null} */ it) => (it === null ? null : Math.round(it - from));
        problem(
          `${record.kind}: ${record.error}, had by ${by}, ${time(record.openedAt)} to ${time(record.endedAt)} of ${time(to)} ms`,
        );
      }
    }
  }
  row.p99 = p99(times);
  const twice = repeated.filter(({ by }) => by.every(({ at }) => at >= from && at <= now()));
  for (const { id: client, by } of twice) {
    problem(`a request of client ${client} was executed by ${by.map((it) => it.pid).join(' and ')}`);
  }
  if (!app.fixture.exit) {
    app.hear();
    for (const other of honest) {
      if (app.listening.has(other)) continue;
      problem(`an honest worker has ended: ${JSON.stringify(app.exits.find((it) => it.id === other))}`);
    }
    row.growth = residentOf(app.pid) - before;
    if (row.growth > GROWTH) problem(`the primary has grown by ${row.growth >> 20} MiB`);
    if (row.peak > PEAK) problem(`the primary had grown by ${row.peak >> 20} MiB`);
    await app.settledDescriptors();
    const most = base + app.replacements;
    await until('its descriptors are closed', () => app.descriptors() <= most, PROMPT).catch(() =>
      problem(`descriptors of the primary: ${base} before, ${app.descriptors()} after`),
    );
    if (app.descriptors() > base) app.replacements = 0;
    await until('nobody is left unreaped', () => zombiesOf(app.pid) === 0, PROMPT).catch(() =>
      problem('a zombie'),
    );
    if (isAlive(pid)) problem('the saboteur is alive');
    for (
      let missing = workers - [...honest].filter((it) => app.listening.has(it)).length;
      missing > 0;
      missing--
    ) {
      app.fixture.tell('fork');
    }
    await app
      .heard('all workers listen', () => app.listening.size >= workers)
      .catch((error) => problem(error.message));
  }
  return row;
}

/**
 * @param {Options} options
 * @param {(row: Row) => void} onRow
 */
async function runSabotage(options, onRow) {
  const { helper, directory } = compile();
  /** @type {Application | null} */
  let app = null;
  try {
    for (const way of options.ways.filter((name) => fits(options.policy, name))) {
      if (app === null) {
        app = new Application(options, helper);
        const { listening } = app;
        await app.heard('all workers listen', () => listening.size === options.workers);
        await app.openSlot();
      }
      const row = await tryWay(app, way);
      onRow(row);
      // The next way must not be judged by the remains of this one.
      if (app.fixture.exit || row.problems.length > 0) {
        await app.end();
        app = null;
      }
    }
  } finally {
    await app?.end();
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

module.exports = { POLICIES, fits, runSabotage };
