'use strict';

const { Map, Math, wallClock } = require('../../globals');
const { MOST_WORKERS } = require('./options');

/**
 * @typedef {import('../../../index').Worker} Worker
 * @typedef {NonNullable<import('../../../index').SupervisorStats['slots'][number]['lastExit']>} LastExit
 */

/** So many process ids are kept. There may be events of a worker after its end. */
const MOST_PIDS = 4 * MOST_WORKERS;

/** What is known of the workers of each slot beyond what decides: their processes, how they ended, how busy they are. */
class History {
  /** @type {Map<number, number>} process ids by worker, the oldest first */
  #pids = new Map();
  /** @type {Map<number, string>} why workers end that have not ended yet */
  #reasons = new Map();
  /** @type {Map<number, LastExit>} by slot */
  #lastExits = new Map();
  /** @type {Map<number, { worker: number, busy: number, uptime: number }>} what was asked for last, by slot */
  #looks = new Map();

  /**
   * @param {Worker} worker
   * @param {() => number} now in ms since the epoch
   */
  onSpawned(worker, now = wallClock) {
    const { pid } = worker.process;
    if (pid !== undefined) this.#pids.set(worker.id, pid);
    const [oldest] = this.#pids.keys();
    if (this.#pids.size > MOST_PIDS) this.#pids.delete(oldest);
    worker.once('exit', (code, signal) => {
      const reason =
        this.#reasons.get(worker.id) ?? `it ended ${signal ? 'by' : 'with exit code'} ${signal ?? code}`;
      this.#reasons.delete(worker.id);
      if (worker.slot === undefined) return;
      const exit = { worker: worker.id, pid: pid ?? null, code, signal, reason, at: now() };
      this.#lastExits.set(worker.slot, exit);
    });
  }

  /**
   * Why a worker has ended, or is about to.
   * @param {string} name of the event
   * @param {Record<string, any>} facts
   * @param {boolean} isAlive
   */
  onEvent(name, { worker, slot, reason }, isAlive) {
    if (!['restart', 'gave-up', 'stopped', 'retire'].includes(name)) return;
    const why = name === 'retire' ? `it retired (${reason})` : reason;
    const last = this.#lastExits.get(slot);
    if (last !== undefined && last.worker === worker) last.reason = why;
    else if (isAlive) this.#reasons.set(worker, why);
  }

  /** @param {number} worker */
  pidOf(worker) {
    return this.#pids.get(worker);
  }

  /**
   * @param {any} facts what decides says of a slot
   */
  describe({ busy, ...facts }) {
    const { slot, worker, uptime } = facts;
    return {
      ...facts,
      pid: this.#pids.get(worker) ?? null,
      utilization: busy === null ? null : this.#utilization(slot, { worker, busy, uptime }),
      lastExit: this.#lastExits.get(slot) ?? null,
    };
  }

  /**
   * The part of the time since it was asked for last, or since the worker was started, that its event loop was at work.
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
