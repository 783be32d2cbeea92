'use strict';

const EventEmitter = require('node:events');
const os = require('node:os');
const { Error, Map, Object, WeakSet, nextTick, process, setImmediate } = require('../globals');

const { defineHidden } = require('../define');
const { MAX_REASON, beginning } = require('../text');
const { EXTRAS, addExtras } = require('../extras');
const { forkNative } = require('../seam/fork');
const { guardHandle } = require('../seam/guard');
const { forwarding, programOf, startForwarding } = require('./forward');
const { inspectorArg, inspectorArgs } = require('./inspector');
const { createMessageHandler, send } = require('./messages');
const { HookAnswers } = require('./hook');
const {
  CONSTANTS,
  isSameSchedule,
  policyName,
  policyNumber,
  readScheduling,
  wrongType,
} = require('./scheduling');
const {
  SCHED_NONE,
  SCHED_RR,
  checkPolicy,
  checkSettings,
  initialPolicy,
  mergeSettings,
} = require('./settings');
const { Supervision } = require('./supervision');
const { createSupervise } = require('./supervise');
const { parseOptions } = require('./supervise/options');
const { describeLaunch, expectMore } = require('./supervise/launch');
const { createWorkerClass } = require('./worker');

/**
 * @typedef {import('../../index').Cluster} Cluster
 * @typedef {import('../../index').ClusterSettings} ClusterSettings
 * @typedef {import('./messages').Worker} Worker
 * @typedef {{ -readonly [Key in keyof Cluster]: Cluster[Key] }} MutableCluster
 */

/** How long, in ms, a worker may plan to take for what it has begun when it is told to retire. */
const DRAIN_TIMEOUT = 10_000;

/**
 * Makes `target` the primary's cluster object. All that the app can read it can also replace, as in the built-in:
 * `workers`, `settings` and `schedulingPolicy` are therefore read from the object whenever they are needed.
 * @param {EventEmitter} target A new emitter, or the built-in cluster object.
 * @returns {Cluster}
 */
function createPrimary(target) {
  const cluster = /** @type {MutableCluster} */ (/** @type {unknown} */ (target));

  /** Tells callbacks of disconnect() that no worker is left. */
  const intercom = new EventEmitter();

  /**
   * All workers until the app has been told of their end; cluster.workers forgets some earlier.
   * @type {Map<number, Worker>}
   */
  const known = new Map();

  let initialized = false;
  let policy = initialPolicy();

  /**
   * What the policy 'hook' asks, if the cluster's is that one.
   * @type {import('../../index').ScheduleHook | undefined}
   */
  let hook;

  const hookAnswers = new HookAnswers((id) => known.get(id));
  const supervision = new Supervision(() => scheduling(cluster.settings), hookAnswers);
  const onInternalMessage = createMessageHandler(target, (id) => supervision.catchUp(id));

  /**
   * What is forwarded: the value of the setting.
   * @type {ClusterSettings['forward']}
   */
  let forwarded;

  /** Workers that are no Node, or at least nothing that knows of clusters. */
  const external = new WeakSet();

  const Worker = createWorkerClass((worker) => {
    // First: one that listens by itself may close its server only when nothing comes to it any more.
    supervision.leave(worker.id);
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
    const text = beginning(`${reason}`, MAX_REASON);
    if (supervised.has(this.id)) supervision.native.retire(this.id, text);
    else if (external.has(this)) this.disconnect();
    else supervision.drain(this.id, text, DRAIN_TIMEOUT);
    return this;
  }
  defineHidden(Worker.prototype, 'retire', { value: retire });

  /** @param {ClusterSettings} [options] */
  function setupPrimary(options) {
    checkSettings(options);
    // Here rather than at supervise(): there the mistake would be far from where it was made.
    if (options?.supervise !== undefined) parseOptions({}, 1, options.supervise);
    const { settings: before } = cluster;
    const settings = mergeSettings(before, options);
    programOf(settings);
    checkScheduling(settings);
    cluster.settings = settings;
    if (!initialized) {
      initialized = true;
      policy = cluster.schedulingPolicy;
      checkPolicy(policy, hook);
      process.on('internalMessage', onDebuggerEnabled);
    }
    const forward = options?.forward;
    // Who passes on all the settings there are means nothing new by it.
    if (forward !== undefined && forward !== forwarded) {
      try {
        startForwarding(supervision, forward);
      } catch (error) {
        cluster.settings = before;
        throw error;
      }
      forwarded = forward;
    }
    nextTick(() => target.emit('setup', settings));
  }

  /**
   * How connections are distributed. A policy that was refused is none that it knows; if
   * the app goes on all the same, the kernel balances.
   * @param {ClusterSettings} settings
   */
  function scheduling(settings) {
    const name = policyName(initialized ? policy : cluster.schedulingPolicy) ?? 'none';
    const byDefault = name === 'hook' ? (hook ?? 'none') : name;
    return readScheduling(settings.scheduling === undefined ? byDefault : settings.scheduling, byDefault);
  }

  /** @param {ClusterSettings} settings */
  function checkScheduling(settings) {
    if (settings.scheduling === undefined) return;
    const wanted = scheduling(settings);
    if (supervision.scheduling === undefined) {
      const { policy: name, hook: index } = wanted.plans.default;
      policy = cluster.schedulingPolicy = /** @type {number} */ (policyNumber(name));
      hook = index === undefined ? undefined : wanted.hooks[index];
    } else if (!isSameSchedule(supervision.scheduling, wanted)) {
      const error = new Error(
        "setupPrimary(): 'scheduling' cannot change once a worker has been forked or something is forwarded",
      );
      throw Object.assign(error, { code: 'ERR_RCLUSTER_TOO_LATE' });
    }
  }

  /**
   * @param {import('../../index').ScheduleHook} choose
   * @param {import('../../index').HookOptions} [options]
   */
  function schedule(choose, options) {
    if (typeof choose !== 'function') throw wrongType('choose', 'a function', choose);
    const { scheduling: current } = cluster.settings;
    const others = typeof current === 'object' ? current : {};
    setupPrimary({ scheduling: { ...others, policy: choose, hook: options } });
  }

  /**
   * The first SIGUSR1 turns on the primary's inspector, of which Node informs in this way. The workers follow.
   * @param {{ cmd: string }} message
   */
  function onDebuggerEnabled(message) {
    if (message.cmd !== 'NODE_DEBUG_ENABLED') return;
    for (const worker of /** @type {Worker[]} */ (Object.values(cluster.workers ?? {}))) {
      const enable = () => supervision.kill(worker.id, os.constants.signals.SIGUSR1);
      if (worker.state === 'online' || worker.state === 'listening') enable();
      // Before a worker is online it may not have a handler yet, and the signal would end it.
      else worker.once('online', enable);
    }
  }

  /**
   * The options of child_process.fork().
   * @param {ClusterSettings} settings
   * @param {NodeJS.ProcessEnv} env
   * @param {string} [inspectPort] If that is known.
   */
  function forkOptions(settings, env, inspectPort) {
    const inspector =
      inspectPort === undefined
        ? inspectorArgs(settings, () => supervision.native.nextInspector())
        : [inspectorArg(inspectPort)];
    return {
      cwd: settings.cwd,
      env,
      serialization: settings.serialization,
      silent: settings.silent,
      windowsHide: settings.windowsHide,
      execPath: programOf(settings),
      execArgv: [.../** @type {string[]} */ (settings.execArgv), ...inspector],
      stdio: settings.stdio,
      gid: settings.gid,
      uid: settings.uid,
    };
  }

  /**
   * @param {number} id
   * @param {ClusterSettings} settings
   * @param {any} [env]
   * @param {{ pid: number, fds: number[], inspectPort?: string }} [started] If supervision has started the process already.
   */
  function createWorker(id, settings, env, started) {
    const options = forkOptions(
      settings,
      { ...process.env, ...env, NODE_UNIQUE_ID: `${id}` },
      started?.inspectPort,
    );
    const file = /** @type {string} */ (settings.exec);
    const child = forkNative(id, supervision, file, settings.args ?? [], options, started);
    const worker = /** @type {Worker} */ (new Worker({ id, process: child }));
    if (programOf(settings) !== undefined) external.add(worker);
    known.set(id, worker);

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
    return createWorker(supervision.native.nextId(), cluster.settings, env);
  }

  /**
   * @param {Worker} worker
   * @param {number | null} code
   * @param {NodeJS.Signals | null} signal
   */
  function onExit(worker, code, signal) {
    // As long as messages of it may come, it stays in the list: the last of the two events removes it.
    if (!worker.isConnected()) removeWorker(worker);
    // Runs after the listeners below, also if one of them throws. They are where an app forks a replacement.
    setImmediate(() => {
      known.delete(worker.id);
      supervision.onExitReported(worker.id);
    });

    worker.exitedAfterDisconnect = hasLeft(worker);
    worker.state = 'dead';
    worker.emit('exit', code, signal);
    target.emit('exit', worker, code, signal);
  }

  /** @param {Worker} worker */
  function onDisconnect(worker) {
    if (worker.isDead()) removeWorker(worker);
    // One that leaves by agreement has left its listeners. One that has just lost its channel is about to die: its
    // listeners stay open for its replacement until it is known whether there will be one.
    else if (worker.exitedAfterDisconnect) supervision.leave(worker.id);

    worker.exitedAfterDisconnect = hasLeft(worker);
    worker.state = 'disconnected';
    worker.emit('disconnect');
    target.emit('disconnect', worker);
  }

  /** @param {Worker} worker */
  function hasLeft(worker) {
    return !!worker.exitedAfterDisconnect || supervision.isLeaving(worker.id);
  }

  /** @param {import('../../index').Worker} worker */
  function removeWorker(worker) {
    const workers = /** @type {NodeJS.Dict<Worker>} */ (cluster.workers);
    delete workers[worker.id];
    if (Object.keys(workers).length === 0) intercom.emit('disconnect');
  }

  /** @param {() => void} [callback] */
  function disconnect(callback) {
    const supervisor = supervised.current();
    // Those of a supervised cluster would be replaced.
    if (supervisor !== undefined) return void supervisor.shutdown().then(callback);
    const workers = /** @type {Worker[]} */ (Object.values(cluster.workers ?? {}));
    if (workers.length === 0) nextTick(() => intercom.emit('disconnect'));
    for (const worker of workers) {
      if (worker.isConnected()) worker.disconnect();
    }
    if (typeof callback === 'function') intercom.once('disconnect', callback);
  }

  const supervised = createSupervise({
    supervision,
    availableParallelism: EXTRAS.availableParallelism,
    setup() {
      cluster.setupPrimary();
      return cluster.settings;
    },
    template: (settings, env, count) =>
      describeLaunch(settings, count, (inspectorPort) => forkOptions(settings, env, inspectorPort)),
    expectMore: (settings, count) => expectMore(settings, count, supervision.native),
    adopt: (settings, { id, ...started }) => createWorker(id, settings, undefined, started),
    workerOf: (id) => known.get(id),
  });

  // The order is what the app sees when it lists the object.
  cluster.isWorker = false;
  cluster.isMaster = true;
  cluster.isPrimary = true;
  cluster.Worker = Worker;
  cluster.workers = {};
  cluster.settings = {};
  cluster.SCHED_NONE = SCHED_NONE;
  cluster.SCHED_RR = SCHED_RR;
  cluster.schedulingPolicy = policy;
  cluster.setupPrimary = setupPrimary;
  cluster.setupMaster = setupPrimary;
  cluster.fork = fork;
  cluster.disconnect = disconnect;
  const extras = {
    ...EXTRAS,
    ...CONSTANTS,
    forwarding: () => forwarding(supervision),
    schedule,
    schedulingStats: () => supervision.report(),
    supervise: supervised.supervise,
  };
  return /** @type {Cluster} */ (/** @type {unknown} */ (addExtras(target, extras)));
}

/** @type {Cluster | undefined} */
let primary;

/** @returns {Cluster} The cluster object of this process. */
function getPrimary() {
  primary ??= createPrimary(new EventEmitter());
  return primary;
}

/**
 * Turns the built-in cluster object itself into it, since that is what the app and its libraries hold on to.
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
