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
    const message = `scaling to ${this.#asked?.workers} workers was overtaken by scaling to ${workers}`;
    this.end({ code: 'ERR_RCLUSTER_SUPERSEDED', message });
    this.#asked = { requests: [request], workers, from: -1 };
    return true;
  }

  /** Adds or removes slots, unless it has been done. */
  begin() {
    const [cluster, asked] = [this.#cluster, this.#asked];
    if (!asked || asked.from >= 0) return;
    asked.from = cluster.wanted.length;
    for (const slot of cluster.wanted.slice(asked.workers)) cluster.empty(slot);
    for (let slot = asked.from; slot < asked.workers; slot++) {
      cluster.setSlot(slot);
      cluster.start(slot, 'scale');
    }
  }

  /** Answers if the new slots have ready workers, and the removed ones are empty. */
  answer() {
    const [{ slots, members }, asked] = [this.#cluster, this.#asked];
    if (!asked || asked.from < 0) return;
    const areUp = [...slots.keys()]
      .slice(asked.from, asked.workers)
      .every((slot) => this.#cluster.isServing(slot));
    const areGone = ![...members].some(({ slot }) => slot >= asked.workers);
    if (areUp && areGone) this.end(null);
  }

  /**
   * A slot is without a worker after a failure. If it is a new one, the requests fail.
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
