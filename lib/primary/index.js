'use strict';

const EventEmitter = require('node:events');
const os = require('node:os');
const { Error, Map, Object, Promise, WeakSet, nextTick, process, setImmediate } = require('../globals');

const { defineHidden } = require('../define');
const { EXTRAS, LAZY, addExtras } = require('../extras');
const { keep, later } = require('../later');
const { forkNative } = require('../seam/fork');
const { guardHandle } = require('../seam/guard');
const { warnOfCopies } = require('./copies');
const { forkOptions } = require('./fork-options');
const { createMessageHandler, send } = require('./messages');
const { CONSTANTS } = require('./policies');
const { ClusterPolicy } = require('./policy');
const { programOf } = require('./program');
const { SCHED_NONE, SCHED_RR, checkSettings, mergeSettings } = require('./settings');
const { NativePrimary } = require('./native');
const { createWorkerClass } = require('./worker');

/** Modules that many primaries never need. */
const LATER = [
  'option-keys',
  'primary/backend',
  'primary/forward',
  'primary/hook',
  'examine',
  'keep-listening',
  'primary/report',
  'primary/scheduling',
  'primary/supervise/history',
  'primary/supervise/index',
  'primary/supervise/launch',
  'primary/supervise/log',
  'primary/supervise/options',
  'primary/supervise/options.json',
  'primary/supervise/rules',
  'primary/supervise/source-maps',
  'primary/supervise/supervisor',
  'seam/gather',
  'seam/handles',
  'seam/signals',
  'shared/backend',
  'shared/errors',
  'shared/members',
  'stderr',
  'text',
];

/** @type {() => typeof import('../text')} */
const text = later('text');
/** @type {() => typeof import('../examine')} */
const examine = later('examine');
/** @type {() => typeof import('./forward')} */
const forwarder = later('primary/forward');
/** @type {() => typeof import('./backend')} */
const backends = later('primary/backend');
/** @type {() => typeof import('./hook')} */
const hooks = later('primary/hook');
/** @type {() => typeof import('./scheduling')} */
const schedules = later('primary/scheduling');
/** @type {() => typeof import('./supervise/index')} */
const supervising = later('primary/supervise/index');
/** @type {() => typeof import('./supervise/launch')} */
const launching = later('primary/supervise/launch');
/** @type {() => typeof import('./supervise/options')} */
const superviseOptions = later('primary/supervise/options');

/**
 * @typedef {import('../../index').Cluster} Cluster
 * @typedef {import('../../index').ClusterSettings} ClusterSettings
 * @typedef {import('./messages').Worker} Worker
 * @typedef {{ -readonly [Key in keyof Cluster]: Cluster[Key] }} MutableCluster
 */

/** The drain timeout in ms of a worker that retires without supervision. */
const DRAIN_TIMEOUT = 10_000;

/**
 * Makes `target` the primary's cluster object. The app can replace every property that it can read, as in the
 * built-in: so `workers`, `settings` and `schedulingPolicy` are read from the object whenever they are
 * needed.
 * @param {EventEmitter} target A new emitter, or the built-in cluster object.
 * @returns {Cluster}
 */
function createPrimary(target) {
  keep(LATER);
  warnOfCopies();
  const cluster = /** @type {MutableCluster} */ (/** @type {unknown} */ (target));

  /** Calls the callbacks of disconnect() when no worker is left. */
  const intercom = new EventEmitter();

  /**
   * All workers whose end has not been reported to the app; cluster.workers drops some earlier.
   * @type {Map<number, Worker>}
   */
  const known = new Map();

  const policy = new ClusterPolicy(cluster);
  const native = new NativePrimary(
    () => policy.plans(cluster.settings),
    () => new (hooks().HookAnswers)((id) => known.get(id)),
  );
  const onInternalMessage = createMessageHandler(target, (id) => native.flush(id));

  /**
   * The value of the setting `forward` that is in force.
   * @type {ClusterSettings['forward']}
   */
  let forwarded;

  /** Workers that run an external program. */
  const external = new WeakSet();

  /** @type {ReturnType<typeof import('./supervise/index').createSupervise> | undefined} once supervise() is called */
  let supervised;

  const Worker = createWorkerClass((worker) => {
    // First: a worker that listens by itself may close its server only when it gets no more connections.
    native.leave(worker.id);
    if (external.has(worker)) {
      if (worker.process.connected) worker.process.disconnect();
      worker.process.kill();
    } else {
      send(/** @type {Worker} */ (worker), { act: 'disconnect' });
    }
    removeWorker(worker);
  });

  /**
   * @this {Worker}
   * @param {string} [reason]
   */
  function retire(reason = 'retire') {
    const { MAX_REASON, beginning } = text();
    const why = beginning(`${reason}`, MAX_REASON);
    if (supervised?.has(this.id)) native.primary.retire(this.id, why);
    else if (external.has(this)) this.disconnect();
    else native.drain(this.id, why, DRAIN_TIMEOUT);
    return this;
  }
  defineHidden(Worker.prototype, 'retire', { value: retire });

  /** @param {ClusterSettings} [options] */
  function setupPrimary(options) {
    checkSettings(options);
    // Validated here rather than in supervise(), so that the error occurs where the mistake is.
    if (options?.supervise !== undefined) superviseOptions().parseOptions({}, 1, options.supervise);
    const { settings: before } = cluster;
    const settings = mergeSettings(before, options);
    programOf(settings);
    policy.applyScheduling(settings, native.scheduling);
    if (options?.backend !== undefined) backends().applyBackend(options.backend);
    cluster.settings = settings;
    if (policy.fix()) process.on('internalMessage', onDebuggerEnabled);
    const forward = options?.forward;
    // The same value again, for example in a copy of all settings, is not a new request.
    if (forward !== undefined && forward !== forwarded) {
      try {
        forwarder().startForwarding(native, forward);
      } catch (error) {
        cluster.settings = before;
        throw error;
      }
      forwarded = forward;
    }
    nextTick(() => target.emit('setup', settings));
  }

  /**
   * @param {import('../../index').ScheduleHook} choose
   * @param {import('../../index').HookOptions} [options]
   */
  function schedule(choose, options) {
    if (typeof choose !== 'function') throw schedules().wrongType('choose', 'a function', choose);
    const { scheduling: current } = cluster.settings;
    const others = typeof current === 'object' ? current : {};
    setupPrimary({ scheduling: { ...others, policy: choose, hook: options } });
  }

  /**
   * The first SIGUSR1 starts the primary's inspector, as the app can with `inspector.open()`. Node reports
   * both with this message, and the workers' inspectors follow. They do not follow an operator's `inspect`, which
   * names one process: nobody would know of their ports, and nobody would close them.
   * @param {{ cmd: string }} message
   */
  function onDebuggerEnabled(message) {
    if (message.cmd !== 'NODE_DEBUG_ENABLED' || examine().opensInspector()) return;
    for (const worker of /** @type {Worker[]} */ (Object.values(cluster.workers ?? {}))) {
      const enable = () => native.kill(worker.id, os.constants.signals.SIGUSR1);
      if (worker.state === 'online' || worker.state === 'listening') enable();
      // Before a worker is online it may have no handler yet, and the signal would end it.
      else worker.once('online', enable);
    }
  }

  /** The distance of the next worker's inspector port from the primary's. */
  const nextInspector = () => native.primary.nextInspector();

  /**
   * @param {number} id
   * @param {ClusterSettings} settings
   * @param {any} [env]
   * @param {{ pid: number, fds: number[], inspectPort?: string }} [started] The process, if supervision has started it already.
   */
  function createWorker(id, settings, env, started) {
    const options = forkOptions(
      settings,
      { ...process.env, ...env, NODE_UNIQUE_ID: `${id}` },
      started?.inspectPort ?? nextInspector,
    );
    const file = /** @type {string} */ (settings.exec);
    const child = forkNative(id, native, file, settings.args ?? [], options, started);
    const worker = /** @type {Worker} */ (new Worker({ id, process: child }));
    if (programOf(settings) !== undefined) external.add(worker);
    // One that could not be started never emits 'exit', which removes it.
    if (child.pid !== undefined) known.set(id, worker);

    worker.on('message', (message, handle) => {
      guardHandle(id, handle);
      target.emit('message', worker, message, handle);
    });
    child.once('exit', (code, signal) => onExit(worker, code, signal));
    child.once('disconnect', () => onDisconnect(worker));
    child.on('internalMessage', (message) => onInternalMessage(worker, message));

    nextTick(() => target.emit('fork', worker));
    /** @type {NodeJS.Dict<Worker>} */ (cluster.workers)[id] = worker;
    return worker;
  }

  /** @param {any} [env] */
  function fork(env) {
    cluster.setupPrimary();
    return createWorker(native.primary.nextId(), cluster.settings, env);
  }

  /**
   * @param {Worker} worker
   * @param {number | null} code
   * @param {NodeJS.Signals | null} signal
   */
  function onExit(worker, code, signal) {
    // While messages of it may still arrive, it stays in the list: the later of the two events removes it.
    if (!worker.isConnected()) removeWorker(worker);
    // Runs after the listeners below, even if one of them throws. In them an app forks a replacement.
    setImmediate(() => {
      known.delete(worker.id);
      native.onExitReported(worker.id);
    });

    worker.exitedAfterDisconnect = hasLeft(worker);
    worker.state = 'dead';
    worker.emit('exit', code, signal);
    target.emit('exit', worker, code, signal);
  }

  /** @param {Worker} worker */
  function onDisconnect(worker) {
    if (worker.isDead()) removeWorker(worker);
    // A worker that leaves intentionally has left its listeners. One that has just lost its channel is about
    // to die: its listeners stay open until it is known whether there will be a replacement.
    else if (worker.exitedAfterDisconnect) native.leave(worker.id);

    worker.exitedAfterDisconnect = hasLeft(worker);
    worker.state = 'disconnected';
    worker.emit('disconnect');
    target.emit('disconnect', worker);
  }

  /** @param {Worker} worker */
  function hasLeft(worker) {
    return !!worker.exitedAfterDisconnect || native.isLeaving(worker.id);
  }

  /** @param {import('../../index').Worker} worker */
  function removeWorker(worker) {
    const workers = /** @type {NodeJS.Dict<Worker>} */ (cluster.workers);
    delete workers[worker.id];
    if (Object.keys(workers).length === 0) intercom.emit('disconnect');
  }

  /** @param {() => void} [callback] */
  function disconnect(callback) {
    const all = /** @type {Worker[]} */ (Object.values(cluster.workers ?? {}));
    // Supervised workers would be replaced, so their cluster is shut down.
    const shutdown = supervised?.current()?.shutdown();
    const workers = all.filter(({ id }) => !supervised?.has(id));
    if (workers.length === 0) nextTick(() => intercom.emit('disconnect'));
    for (const worker of workers) {
      if (worker.isConnected()) worker.disconnect();
    }
    if (typeof callback !== 'function') return;
    if (shutdown === undefined) return void intercom.once('disconnect', callback);
    const ended = workers.map(
      (worker) =>
        worker.isDead() || new Promise((resolve) => worker.process.prependOnceListener('exit', resolve)),
    );
    // By nextTick(), an exception of it is uncaught, as without supervision.
    void Promise.all([shutdown, ...ended]).then(() => nextTick(callback));
  }

  /** @param {[options?: import('../../index').SuperviseOptions]} args */
  function supervise(...args) {
    supervised ??= supervising().createSupervise({
      native,
      availableParallelism: EXTRAS.availableParallelism,
      setup() {
        cluster.setupPrimary();
        return cluster.settings;
      },
      template: (settings, env, count) =>
        launching().describeLaunch(settings, count, (inspectorPort) =>
          forkOptions(settings, env, inspectorPort ?? nextInspector),
        ),
      expectMore: (settings, count) => launching().expectMore(settings, count, native.primary),
      adopt: (settings, { id, ...started }) => createWorker(id, settings, undefined, started),
      workerOf: (id) => known.get(id),
      applyBackend: (backend) => backends().applyBackend(backend),
    });
    return supervised.supervise(...args);
  }

  // The app sees the properties in this order when it enumerates the object.
  cluster.isWorker = false;
  cluster.isMaster = true;
  cluster.isPrimary = true;
  cluster.Worker = Worker;
  cluster.workers = {};
  cluster.settings = {};
  cluster.SCHED_NONE = SCHED_NONE;
  cluster.SCHED_RR = SCHED_RR;
  cluster.schedulingPolicy = policy.number;
  cluster.setupPrimary = setupPrimary;
  cluster.setupMaster = setupPrimary;
  cluster.fork = fork;
  cluster.disconnect = disconnect;
  const extras = {
    ...EXTRAS,
    ...CONSTANTS,
    forwarding: () => forwarder().forwarding(native),
    schedule,
    schedulingStats: () => native.report(),
    supervise,
  };
  return /** @type {Cluster} */ (/** @type {unknown} */ (addExtras(target, extras, LAZY)));
}

/** @type {Cluster | undefined} */
let primary;

/** @returns {Cluster} The cluster object of this process. */
function getPrimary() {
  primary ??= createPrimary(new EventEmitter());
  return primary;
}

/**
 * Turns the built-in cluster object itself into the primary's, because the app and its libraries hold that
 * object.
 * @param {EventEmitter & { workers?: object }} builtin
 */
function takeOver(builtin) {
  if (primary === builtin) return;
  if (Object.keys(builtin.workers ?? {}).length > 0) {
    const error = new Error(
      'rcluster/register was loaded after the built-in cluster had forked workers: ' +
        'start the app with `node -r rcluster/register`',
    );
    throw Object.assign(error, { code: 'ERR_RCLUSTER_TOO_LATE' });
  }
  primary = createPrimary(builtin);
}

module.exports = { createPrimary, getPrimary, takeOver };
