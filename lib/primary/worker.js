'use strict';

const { Number, Object, Reflect } = require('../globals');
const EventEmitter = require('node:events');

/** @typedef {import('../../index').Worker} ClusterWorker */

/**
 * Creates the Worker class of one cluster object: the primary's handle of a worker.
 *
 * It is a function and not a class because `cluster.Worker()` works without `new`, and its methods are plain
 * enumerable properties of the prototype, as the built-in's are.
 * @param {(worker: ClusterWorker) => void} onDisconnect Called by a worker's disconnect() after it has set its flag.
 * @returns {import('../../index').WorkerConstructor}
 */
function createWorkerClass(onDisconnect) {
  /**
   * @this {any}
   * @param {import('../../index').WorkerOptions} [options]
   * @returns {any}
   */
  const Worker = function Worker(options) {
    if (!(this instanceof Worker)) return Reflect.construct(Worker, [options]);
    Reflect.apply(EventEmitter, this, []);

    const { id, state, process: child } = options !== null && typeof options === 'object' ? options : {};
    const worker = /** @type {any} */ (this);
    worker.exitedAfterDisconnect = undefined;
    worker.state = state || 'none';
    worker.id = Number(id) | 0;
    if (child) {
      worker.process = child;
      // The second argument is always undefined, but listeners have always been given two.
      child.on('error', (/** @type {unknown} */ error, /** @type {unknown} */ extra) =>
        worker.emit('error', error, extra),
      );
      child.on('message', (message, handle) => worker.emit('message', message, handle));
    }
  };
  Object.setPrototypeOf(Worker.prototype, EventEmitter.prototype);
  Object.setPrototypeOf(Worker, EventEmitter);

  /** @type {ThisType<ClusterWorker> & Record<string, Function>} */
  const methods = {
    kill(/** @type {any[]} */ ...args) {
      // Looked up at each call, so that replacing destroy() also replaces kill().
      Reflect.apply(this.destroy, this, args);
    },
    send(/** @type {any[]} */ ...args) {
      return Reflect.apply(this.process.send, this.process, args);
    },
    isDead() {
      return (this.process.exitCode ?? this.process.signalCode ?? null) !== null;
    },
    isConnected() {
      return this.process.connected;
    },
    disconnect() {
      this.exitedAfterDisconnect = true;
      onDisconnect(this);
      return this;
    },
    destroy(/** @type {NodeJS.Signals | undefined} */ signal) {
      this.process.kill(signal || 'SIGTERM');
    },
  };
  Object.assign(Worker.prototype, methods);
  return /** @type {any} */ (Worker);
}

module.exports = { createWorkerClass };
