'use strict';

/**
 * @typedef {InstanceType<typeof import('./cluster').Cluster>} Cluster
 * @typedef {import('./cluster').Failure} Failure
 */

/** Adds or removes slots. */
class Scale {
  #cluster;
  /** @type {{ requests: number[], workers: number, from: number } | undefined} `from` is negative until it begins */
  #asked;

  /** @param {Cluster} cluster */
  constructor(cluster) {
    this.#cluster = cluster;
  }

  /**
   * Asks for a number of slots. Requests for another number fail.
   * @param {number} workers
   * @param {number} request
   * @returns {boolean} false if the same number is asked for already
   */
  ask(workers, request) {
    if (this.#asked?.workers === workers) {
      this.#asked.requests.push(request);
      return false;
    }
    this.end({ code: 'ERR_RCLUSTER_SUPERSEDED', message: `another call wants ${workers} workers` });
    this.#asked = { requests: [request], workers, from: -1 };
    return true;
  }

  /** Begins if it has not, and ends when the slots are there, or are gone. */
  advance() {
    const [cluster, asked] = [this.#cluster, this.#asked];
    if (!asked) return;
    const { slots } = cluster;
    if (asked.from < 0) {
      asked.from = cluster.wanted;
      for (const slot of slots.keys()) if (slot >= asked.workers) cluster.empty(slot);
      for (let slot = asked.from; slot < asked.workers; slot++) {
        cluster.setSlot(slot);
        cluster.start(slot, 'current', 'scale');
      }
    }
    const isGone = (/** @type {number} */ slot) => ![...cluster.members].some((it) => it.slot === slot);
    while (slots.length > asked.workers && isGone(slots.length - 1)) slots.pop();
    const areUp = [...slots.keys()].slice(asked.from).every((slot) => cluster.isServing(slot));
    if (slots.length === asked.workers && areUp) this.end(null);
  }

  /**
   * A worker has failed to start. If its slot is a new one, the requests fail.
   * @param {number} slot
   * @param {Failure} failure
   */
  onFailure(slot, failure) {
    if (this.#asked && this.#asked.from >= 0 && slot >= this.#asked.from) this.end(failure);
  }

  /**
   * Answers the requests.
   * @param {Failure} failure
   */
  end(failure) {
    const requests = this.#asked?.requests ?? [];
    this.#asked = undefined;
    this.#cluster.answer(requests, failure);
  }
}

module.exports = { Scale };
