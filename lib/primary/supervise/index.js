'use strict';

const { Error, Map, Object, Promise, process, random } = require('../../globals');
const { defineHidden } = require('../../define');
const { invalidValue } = require('../../errors');
const { keepListening } = require('../../keep-listening');
const { programOf } = require('../program');
const { parseOptions, toNative } = require('./options');
const { Supervisor } = require('./supervisor');

/**
 * @typedef {import('../../../index').ClusterSettings} ClusterSettings
 * @typedef {import('../../../index').SuperviseOptions} SuperviseOptions
 * @typedef {import('../../../index').Worker} Worker
 * @typedef {{ id: number, slot?: number, pid: number, fds: number[], inspectPort?: string }} Spawned
 *
 * @typedef {object} Primary The parts of the primary's cluster object that are needed here.
 * @property {import('./supervisor').NativePrimary} native
 * @property {() => number} availableParallelism
 * @property {() => ClusterSettings} setup Makes settings final, as a fork does.
 * @property {(settings: ClusterSettings, env: NodeJS.ProcessEnv, count: number) => any} template Describes how
 *   `count` workers are about to be started.
 * @property {(settings: ClusterSettings, count: number) => void} expectMore Called when more workers are about to be started.
 * @property {(settings: ClusterSettings, spawned: Spawned) => Worker} adopt Makes a worker of a process that runs.
 * @property {(id: number) => Worker | undefined} workerOf
 * @property {(backend: unknown) => void} applyBackend As `setupPrimary({ backend })` does.
 */

/**
 * Variables that a worker does not inherit, besides the one with its slot: it gets its own, or they are for
 * systemd and the primary only.
 */
const NOT_INHERITED = [
  'NODE_UNIQUE_ID',
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_PIDFDID',
  'LISTEN_FDNAMES',
  'FDSTORE',
];

/**
 * @param {string} code
 * @param {string} message
 */
function refusal(code, message) {
  return Object.assign(new Error(message), { code });
}

/**
 * Creates cluster.supervise().
 * @param {Primary} primary
 */
function createSupervise(primary) {
  /** @type {InstanceType<typeof Supervisor> | undefined} */
  let supervisor;
  let shutDown = false;
  /** @type {string | false} the environment variable with a worker's slot */
  let instanceVar = false;
  /** @type {Map<number, Promise<unknown>>} by worker id; resolves when the worker's end has been reported to the app */
  const members = new Map();
  /**
   * The settings of new workers until the next reload.
   * @type {ClusterSettings}
   */
  let settings;

  /**
   * Refuses options that need a Node worker: an external program reports nothing and answers no requests.
   * @param {ClusterSettings} wanted
   * @param {{ ready: string, unresponsiveAfter: number }} options
   */
  function checkExternal(wanted, { ready, unresponsiveAfter }) {
    if (programOf(wanted) === undefined) return;
    if (ready === 'explicit') throw invalidValue('Workers with "execPath" cannot say that they are ready');
    if (unresponsiveAfter > 0) throw invalidValue('Workers with "execPath" have no event loop to watch');
  }

  /** @param {number} count How many workers are about to be started. @returns {any} */
  function template(count) {
    settings = primary.setup();
    const env = { ...process.env };
    for (const name of NOT_INHERITED) delete env[name];
    if (instanceVar !== false) delete env[instanceVar];
    return primary.template(settings, env, count);
  }

  /**
   * @param {number} id
   * @param {number} slot
   */
  function promote(id, slot) {
    const worker = primary.workerOf(id);
    if (worker !== undefined) setSlot(worker, slot);
  }

  /** @param {SuperviseOptions} [given] */
  function supervise(given = {}) {
    if (shutDown) throw refusal('ERR_RCLUSTER_SHUT_DOWN', 'The supervised cluster has been shut down');
    if (supervisor !== undefined) {
      throw refusal('ERR_RCLUSTER_SUPERVISED', 'cluster.supervise() has been called already');
    }
    const options = parseOptions(given, primary.availableParallelism(), primary.setup().supervise);
    instanceVar = options.instanceVar;
    const launch = template(options.workers + options.standby);
    checkExternal(settings, options);
    if (options.backend !== undefined) primary.applyBackend(options.backend);
    const { native } = primary;
    const started = new Supervisor(
      {
        native,
        workerOf: primary.workerOf,
        promote,
        template,
        expectMore: (count) => primary.expectMore(settings, count),
        execArgv: () => settings.execArgv ?? [],
        // The native part learns of a worker's end a little before the app does.
        told: async () => void (await Promise.all(members.values())),
      },
      options,
    );
    native.audience = {
      onSpawned(event) {
        const worker = primary.adopt(settings, event);
        started.onSpawned(worker);
        // Not on the worker: the app may remove all listeners from that.
        const ended = new Promise((resolve) => worker.process.prependOnceListener('exit', resolve));
        members.set(event.id, ended);
        void ended.then(() => members.delete(event.id));
        if (Object.hasOwn(event, 'slot')) setSlot(worker, /** @type {number} */ (event.slot));
      },
      onMessage: (message) => started.onMessage(message),
    };
    try {
      native.primary.supervise(toNative(options), launch, (random() * 2 ** 32) >>> 0);
    } catch (error) {
      // The next call tries again, with another supervisor.
      Supervisor.abandon(started);
      throw error;
    }
    keepListening('exit', () => {
      native.flushLogs();
      native.removeSockets();
    });
    supervisor = started;
    void started.closed.then(() => (shutDown = true));
    return started;
  }

  return { supervise, current: () => supervisor, has: (/** @type {number} */ id) => members.has(id) };
}

/**
 * @param {Worker} worker
 * @param {number} slot
 */
function setSlot(worker, slot) {
  defineHidden(worker, 'slot', { value: slot });
}

module.exports = { createSupervise };
