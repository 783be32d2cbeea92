'use strict';

const { Map, Math } = require('../../globals');
const { signalNames } = require('../../signal-names');
const { MOST_WORKERS } = require('./options');

/**
 * @typedef {import('../../../index').Worker} Worker
 * @typedef {NonNullable<import('../../../index').SupervisorStats['slots'][number]['lastExit']>} LastExit
 */

/** The most process ids that are kept. A worker may have events after its end. */
const MOST_PIDS = 4 * MOST_WORKERS;

/** What the supervisor knows about the workers for reports only: process ids, utilization. */
class History {
  /** @type {Map<number, number>} process ids by worker, the oldest first */
  #pids = new Map();
  /** @type {Map<number, { worker: number, busy: number, uptime: number }>} the last sample of stats(), by slot */
  #looks = new Map();

  /** @param {Worker} worker */
  onSpawned(worker) {
    const { pid } = worker.process;
    if (pid !== undefined) this.#pids.set(worker.id, pid);
    const [oldest] = this.#pids.keys();
    if (this.#pids.size > MOST_PIDS) this.#pids.delete(oldest);
  }

  /** @param {number} worker */
  pidOf(worker) {
    return this.#pids.get(worker);
  }

  /**
   * @param {any} facts the facts about a slot from the native part or the fallback
   * @param {Record<number, any>} lastExits how the last workers have ended, by slot
   */
  describe({ busy, ...facts }, lastExits) {
    const { slot, worker, uptime } = facts;
    return {
      ...facts,
      pid: this.#pids.get(worker) ?? null,
      utilization: busy === null ? null : this.#utilization(slot, { worker, busy, uptime }),
      lastExit: this.#complete(lastExits[slot]),
    };
  }

  /** @param {any} exit with the number of its signal, and without a process id @returns {LastExit | null} */
  #complete(exit) {
    if (exit === undefined) return null;
    const signal = exit.signal === null ? null : (signalNames.get(exit.signal) ?? exit.signal);
    return { ...exit, signal, pid: this.#pids.get(exit.worker) ?? null };
  }

  /**
   * The share of time in which the event loop was busy, since the last call or the start of the worker: 0 to
   * 1.
   * @param {number} slot
   * @param {{ worker: number, busy: number, uptime: number }} look
   */
  #utilization(slot, look) {
    const last = this.#looks.get(slot);
    this.#looks.set(slot, look);
    const isLater = last !== undefined && last.worker === look.worker && look.uptime > last.uptime;
    const before = isLater ? last : { busy: 0, uptime: 0 };
    const part = (look.busy - before.busy) / Math.max(1, look.uptime - before.uptime);
    return Math.min(1, Math.max(0, part));
  }
}

module.exports = { History };
