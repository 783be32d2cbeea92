'use strict';

const { LONGEST_DELAY, Math, clearTimeout, monotonic, random, setTimeout } = require('../globals');

/**
 * @typedef {InstanceType<typeof import('./cluster').Cluster>} Cluster
 * @typedef {import('./cluster').Member} Member
 */

/** The replacement of healthy workers that have reached their age. */
class Recycling {
  #cluster;
  #onDue;

  /**
   * @param {Cluster} cluster
   * @param {() => void} onDue Called when a worker may have to be recycled.
   */
  constructor(cluster, onDue) {
    this.#cluster = cluster;
    this.#onDue = onDue;
  }

  /** @param {Member} member It is ready. */
  watch(member) {
    const { age, jitter } = this.#cluster.options.recycle;
    if (age === 0) return;
    const limit = Math.min(LONGEST_DELAY, Math.round(age * (1 + jitter * (2 * random() - 1))));
    member.limitAge(limit, this.#onDue);
  }

  /**
   * Recycles one worker at a time, so that similar workers are not all replaced at once; and none during a reload,
   * which replaces them anyway.
   * @param {boolean} isReloading
   */
  start(isReloading) {
    for (const slot of this.#cluster.wanted) {
      const member = this.#cluster.at(slot, 'current');
      const excess = member?.excess();
      if (!member?.isReady || member.leaves !== undefined || excess === undefined) continue;
      if (this.#mayRecycle(slot, isReloading)) this.#recycle(member, excess);
    }
  }

  /**
   * The new worker did not get ready. The old one can keep serving for a while.
   * @param {number} slot
   */
  putOff(slot) {
    const its = this.#cluster.slots[slot];
    this.#wait(slot, monotonic() + its.failures.add(false, random()));
  }

  /**
   * @param {number} slot
   * @param {boolean} isReloading
   */
  #mayRecycle(slot, isReloading) {
    const { members, slots } = this.#cluster;
    const isBusy = [...members].some(({ place, leaves }) => place === 'current' && leaves === 'recycle');
    if (isBusy || isReloading || !slots[slot].isHeld) return false;
    // It must never use up the budget of restarts, so it has one of its own.
    const now = monotonic();
    const roomAt = slots[slot].recycles.roomAt(now);
    if (roomAt !== undefined) this.#wait(slot, Math.max(roomAt, slots[slot].noRecycleBefore));
    return slots[slot].noRecycleBefore <= now;
  }

  /**
   * @param {Member} member
   * @param {{ value: number, limit: number }} excess in ms
   */
  #recycle(member, excess) {
    const { id, slot } = member;
    const now = monotonic();
    this.#cluster.event('recycle', { worker: id, slot, cause: 'age', ...excess });
    this.#cluster.slots[slot].recycles.spend(now, now);
    this.#cluster.replace(member, 'recycle', 'recycle');
  }

  /**
   * @param {number} slot
   * @param {number} until
   */
  #wait(slot, until) {
    const its = this.#cluster.slots[slot];
    its.noRecycleBefore = until;
    clearTimeout(its.recycling);
    its.recycling = setTimeout(this.#onDue, Math.min(LONGEST_DELAY, until - monotonic()));
  }
}

module.exports = { Recycling };
