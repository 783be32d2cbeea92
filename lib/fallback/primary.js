'use strict';

// supervise() and related functions, on top of the built-in cluster.

const {
  JSON,
  Map,
  Object,
  Reflect,
  clearInterval,
  nextTick,
  process,
  setImmediate,
  setInterval,
} = require('../globals');
const fs = require('node:fs');
const os = require('node:os');

const { noReport, unsupported } = require('../extras');
const { CONSTANTS } = require('../primary/policies');
const { checkSettings } = require('../primary/settings');
const { createSupervise } = require('../primary/supervise/index');
const { parseOptions } = require('../primary/supervise/options');
const { Engine } = require('./engine');
const { sendDrain } = require('./member');
const { SETTINGS } = require('./worker');

/**
 * @typedef {import('../../index').ClusterSettings} ClusterSettings
 * @typedef {import('../../index').SuperviseOptions} SuperviseOptions
 * @typedef {import('../../index').Worker} Worker
 */

/** The settings that the built-in would ignore. */
const NATIVE = /** @type {const} */ (['backend', 'forward', 'scheduling', 'execPath']);

/** The preload of supervised workers. */
const PRELOAD = require.resolve('./preload');

/** The longest delay of a timer, in ms. The timer only keeps the event loop alive. */
const LONG = 2 ** 31 - 1;

/**
 * @param {any} cluster the built-in's object in a primary
 * @returns {(options?: SuperviseOptions) => import('../../index').Supervisor}
 */
function createPrimary(cluster) {
  const { setupPrimary, disconnect } = cluster;
  /** @type {Map<number, Worker>} the workers by id, until their end has been reported to the app */
  const known = new Map();
  const hold = createHold();
  /** @type {SuperviseOptions | undefined} */
  let defaults;
  /** @type {string | false | undefined} the environment variable with a worker's slot */
  let variable;

  // As with the native part, messages come after the call that causes them: a request is recorded before it is
  // answered, and what a listener throws does not interrupt a decision.
  const engine = new Engine(start, (message) => nextTick(() => native.audience?.onMessage(message)));
  const native = {
    /** @type {any} */
    audience: undefined,
    primary: engine,
    hold: hold.take,
    release: hold.free,
    report: noReport,
    removeSockets() {},
    flushLogs() {},
  };

  /**
   * Forks a worker with our preload after those of the app.
   * @param {NodeJS.ProcessEnv} env
   * @returns {Worker}
   */
  function fork(env) {
    const { execArgv } = cluster.settings;
    // Without it, a release that has been removed still starts workers.
    if (!fs.existsSync(PRELOAD)) return cluster.fork(env);
    const end = execArgv.indexOf('--');
    // The built-in takes the options from its settings, which show the app its own again before 'setup' is emitted.
    cluster.settings.execArgv = execArgv.toSpliced(end === -1 ? execArgv.length : end, 0, '-r', PRELOAD);
    try {
      return cluster.fork(env);
    } finally {
      cluster.settings.execArgv = execArgv;
    }
  }

  /**
   * @param {NodeJS.ProcessEnv} env
   * @param {number} slot
   * @param {number} drainTimeout in ms
   */
  function start(env, slot, drainTimeout) {
    const settings = JSON.stringify({ slot, drainTimeout });
    const worker = fork({ ...env, [SETTINGS]: settings, ...(variable && { [variable]: `${slot}` }) });
    if (worker.process.pid === undefined) {
      // The built-in lists it until its channel is closed, and in vain if it has none.
      delete cluster.workers[worker.id];
      return worker;
    }
    known.set(worker.id, worker);
    worker.process.once('exit', () => setImmediate(() => known.delete(worker.id)));
    native.audience.onSpawned({ id: worker.id, slot });
    return worker;
  }

  /** @param {ClusterSettings} [settings] */
  function setupPortable(settings) {
    checkSettings(settings);
    for (const name of NATIVE) {
      if (settings?.[name] !== undefined) unsupported(`setupPrimary({ ${name} })`)();
    }
    const policy = Object.keys(CONSTANTS).find((name) => CONSTANTS[name] === cluster.schedulingPolicy);
    if (policy !== undefined) unsupported(`cluster.${policy}`)();
    const { supervise, ...others } = settings ?? {};
    // Validated here rather than in supervise(), so that the error occurs where the mistake is.
    if (supervise !== undefined) parseOptions({}, 1, supervise);
    Reflect.apply(setupPrimary, cluster, [settings === undefined ? undefined : others]);
    if (supervise !== undefined) defaults = supervise;
  }

  Object.defineProperty(cluster.Worker.prototype, 'retire', {
    /** @param {string} [reason] */
    value(reason = 'retire') {
      if (!engine.retire(this.id, `${reason}`)) sendDrain(this, `${reason}`, null);
      return this;
    },
    writable: true,
    configurable: true,
    enumerable: false,
  });

  const supervised = createSupervise({
    native,
    availableParallelism: os.availableParallelism,
    setup() {
      cluster.setupPrimary();
      return { ...cluster.settings, supervise: defaults };
    },
    template: (_settings, env) => env,
    // The built-in assigns inspector ports itself.
    expectMore() {},
    adopt: (_settings, { id }) => /** @type {Worker} */ (known.get(id)),
    workerOf: (id) => known.get(id),
    applyBackend: unsupported('supervise({ backend })'),
  });

  cluster.setupPrimary = cluster.setupMaster = setupPortable;
  /** @param {() => void} [callback] */
  cluster.disconnect = (callback) => {
    const supervisor = supervised.current();
    if (supervisor === undefined) return Reflect.apply(disconnect, cluster, [callback]);
    // Then those that the app has forked itself.
    void supervisor.shutdown().then(() => Reflect.apply(disconnect, cluster, [callback]));
  };

  return (options) => {
    const supervisor = supervised.supervise(options);
    variable = options?.instanceVar ?? defaults?.instanceVar ?? false;
    tellWhatIsMissing({ ...defaults, ...options });
    return supervisor;
  };
}

/** @param {SuperviseOptions} options the options that the app has set */
function tellWhatIsMissing({
  standby,
  unresponsiveAfter,
  recycle,
  retireOnException,
  control,
  metrics,
  logs,
}) {
  const missing = Object.entries({
    standby,
    unresponsiveAfter,
    'recycle.memory': recycle?.memory,
    'recycle.connections': recycle?.connections,
    retireOnException,
    control: control !== 'auto' && control !== 'off' && control,
    metrics: metrics !== 'off' && metrics,
    logs: logs !== 'auto' && logs !== 'inherit' && logs,
  }).filter(([, value]) => value);
  if (missing.length === 0) return;
  const names = missing.map(([name]) => `'${name}'`).join(', ');
  process.emitWarning(`supervise() goes without ${names}, which take the native part of rcluster`, {
    code: 'RCLUSTER_FALLBACK',
  });
}

/** Keeps the event loop alive while there are holders. */
function createHold() {
  let holders = 0;
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  return {
    take() {
      if (holders++ === 0) timer = setInterval(() => {}, LONG);
    },
    free() {
      if (--holders === 0) clearInterval(timer);
    },
  };
}

module.exports = { createPrimary };
