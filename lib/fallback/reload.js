'use strict';

const { Math, monotonic } = require('../globals');

/**
 * @typedef {InstanceType<typeof import('./cluster').Cluster>} Cluster
 * @typedef {import('./cluster').Failure} Failure
 * @typedef {import('./cluster').Member} Member
 */

/** Replaces the workers of all slots, some at a time. */
class Reload {
  #cluster;
  /** @type {{ requests: number[], concurrency: number, started: number } | undefined} */
  #running;

  /** @param {Cluster} cluster */
  constructor(cluster) {
    this.#cluster = cluster;
  }

  get isRunning() {
    return this.#running !== undefined;
  }

  /**
   * Begins, or joins the one that is running.
   * @param {number} concurrency
   * @param {number} request
   * @returns {boolean} whether it begins
   */
  ask(concurrency, request) {
    if (this.#running) {
      this.#running.requests.push(request);
      return false;
    }
    this.#cluster.generation++;
    this.#running = { requests: [request], concurrency, started: monotonic() };
    this.#cluster.event('reload', { phase: 'start', slots: this.#cluster.wanted.length, concurrency });
    return true;
  }

  /** Goes on with as many slots as it may, and ends when all are done. */
  advance() {
    if (!this.#running) return;
    const { requests, concurrency, started } = this.#running;
    const slots = this.#cluster.wanted;
    let free = concurrency - slots.filter((slot) => this.#isStarting(slot)).length;
    for (const slot of slots) {
      if (free <= 0 || this.#isNew(slot) || this.#isStarting(slot)) continue;
      free--;
      this.#begin(slot);
    }
    if (!slots.every((slot) => this.#isNew(slot))) return;
    this.#running = undefined;
    this.#cluster.event('reload', { phase: 'done', tookMs: Math.round(monotonic() - started) });
    this.#cluster.answer(requests, null);
  }

  /**
   * A worker has failed to start. If it is a new one, the reload has failed.
   * @param {Member} member
   * @param {NonNullable<Failure>} failure
   */
  onFailure(member, failure) {
    const { generation, members, wanted } = this.#cluster;
    if (!this.#running || member.generation !== generation) return;
    const { requests } = this.#running;
    this.#running = undefined;
    const { length: reloaded } = wanted.filter((slot) => this.#isNew(slot));
    this.#cluster.event('reload', { phase: 'failed', reason: failure.message, reloaded });
    this.#cluster.answer(requests, failure);
    for (const other of members) {
      if (other === member || other.place !== 'successor' || other.generation !== generation) continue;
      const current = this.#cluster.at(other.slot, 'current');
      // A worker that must leave still needs its successor.
      if (!current || current.leavesSoon) continue;
      current.stay();
      other.terminate();
    }
  }

  /** @param {Failure} failure */
  abandon(failure) {
    this.#cluster.answer(this.#running?.requests ?? [], failure);
    this.#running = undefined;
  }

  /** @param {number} slot */
  #begin(slot) {
    const cluster = this.#cluster;
    cluster.at(slot, 'successor')?.terminate();
    cluster.revive(slot);
    const current = cluster.at(slot, 'current');
    if (current) cluster.replace(current, 'reload', 'reload');
    else cluster.start(slot, 'reload');
  }

  /** @param {number} slot */
  #isNew(slot) {
    return this.#cluster.slots[slot].reloaded === this.#cluster.generation;
  }

  /** @param {number} slot */
  #isStarting(slot) {
    const { generation, members } = this.#cluster;
    return [...members].some((one) => {
      return one.slot === slot && one.stage === 'starting' && one.generation === generation;
    });
  }
}

module.exports = { Reload };
