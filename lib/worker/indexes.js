'use strict';

const { Map, Set } = require('../globals');

/**
 * Numbers the servers of this worker that request the same address: the n-th `listen(0)` of each worker
 * shares one port. The numbers of an address begin at 0 again once all of them are released.
 */
module.exports = class Indexes {
  /** @type {Map<string, { next: number, taken: Set<number> }>} */
  #addresses = new Map();

  /** @param {string} address */
  take(address) {
    let numbers = this.#addresses.get(address);
    if (numbers === undefined) {
      numbers = { next: 0, taken: new Set() };
      this.#addresses.set(address, numbers);
    }
    const number = numbers.next++;
    numbers.taken.add(number);
    return {
      number,
      /** Releases the number. */
      release: () => {
        const current = this.#addresses.get(address);
        if (current === undefined) return;
        current.taken.delete(number);
        if (current.taken.size === 0) this.#addresses.delete(address);
      },
      /** Whether any server of the address is still open. */
      taken: () => this.#addresses.has(address),
    };
  }
};
