'use strict';

const { Map, Math, Object, wallClock } = require('../../globals');
const { signalNames } = require('./signal-names');
const { MOST_WORKERS } = require('./options');

/**
 * @typedef {import('../../../index').Worker} Worker
 * @typedef {NonNullable<import('../../../index').SupervisorStats['slots'][number]['lastExit']>} LastExit
 */

/** The reasons of a worker that retires after an exception. */
const THROWN = ['uncaughtException', 'unhandledRejection'];

/** The most process ids that are kept. A worker may have events after its end. */
const MOST_PIDS = 4 * MOST_WORKERS;

/**
 * What the supervisor knows about the workers of each slot for reports only: process ids, last exits,
 * utilization.
 */
class History {
  /** @type {Map<number, number>} process ids by worker, the oldest first */
  #pids = new Map();
  /** @type {Map<number, Partial<LastExit>>} the known reasons of workers that have not exited yet */
  #reasons = new Map();
  /** @type {Map<number, LastExit>} by slot, for the fallback */
  #lastExits = new Map();
  /** @type {Map<number, { worker: number, busy: number, uptime: number }>} the last sample of stats(), by slot */
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
      const why = this.#reasons.get(worker.id);
      this.#reasons.delete(worker.id);
      if (worker.slot === undefined) return;
      this.#lastExits.set(worker.slot, {
        worker: worker.id,
        pid: pid ?? null,
        code,
        signal,
        reason: signal ? 'signal' : 'exit',
        detail: `it ended ${signal ? 'by' : 'with exit code'} ${signal ?? code}`,
        at: now(),
        stderrTail: null,
        ...why,
      });
    });
  }

  /**
   * Records why a worker has ended, or is about to.
   * @param {string} name of the event
   * @param {Record<string, any>} facts
   * @param {boolean} isAlive
   */
  onEvent(name, { worker, slot, reason, phase }, isAlive) {
    if (!['restart', 'gave-up', 'stopped', 'retire'].includes(name)) return;
    const retired = name === 'retire';
    // In one literal, because adding a property later could call a setter on Object.prototype.
    /** @type {Partial<LastExit>} */
    const why = {
      detail: retired ? `it retired (${reason})` : reason,
      ...(phase === 'start-up' && { reason: 'startup' }),
      ...(retired && THROWN.includes(reason) && { reason: 'exception' }),
    };
    const last = this.#lastExits.get(slot);
    if (last !== undefined && last.worker === worker) Object.assign(last, why);
    else if (isAlive) this.#reasons.set(worker, why);
  }

  /** @param {number} worker */
  pidOf(worker) {
    return this.#pids.get(worker);
  }

  /**
   * @param {any} facts the facts about a slot from the native part or the fallback
   * @param {Record<number, any>} [lastExits] the native part's record of the last exits, by slot
   */
  describe({ busy, ...facts }, lastExits) {
    const { slot, worker, uptime } = facts;
    return {
      ...facts,
      pid: this.#pids.get(worker) ?? null,
      utilization: busy === null ? null : this.#utilization(slot, { worker, busy, uptime }),
      lastExit:
        lastExits === undefined ? (this.#lastExits.get(slot) ?? null) : this.#complete(lastExits[slot]),
    };
  }

  /** @param {any} exit in the native form @returns {LastExit | null} */
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
