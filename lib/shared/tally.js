'use strict';

// store.tally(): counters that each process adds to on its own page, and any process can sum. See
// types/shared.d.ts.

const { Buffer, Error, Map, Number, Symbol } = require('../globals');
const builtin = require('../builtin');
const { loadBinding } = require('../load-binding');
const { invalidType, invalidValue, sharedError } = require('./errors');
const { checkKey } = require('./options');

/**
 * The symbol under which a worker's cluster object has the function that opens tallies: see
 * ../worker/extras.js.
 */
const OPEN = Symbol.for('rcluster.tallies');

/** The longest name, in bytes. */
const MAX_NAME = 256;

/** @typedef {import('../../binding').SharedTallies} NativeTallies */

class Tally {
  #native;
  #index;
  #add;

  /**
   * @param {string} name
   * @param {NativeTallies} native
   * @param {number} index
   * @param {ReturnType<NativeTallies['adder']>} add
   */
  constructor(name, native, index, add) {
    this.name = name;
    this.#native = native;
    this.#index = index;
    this.#add = add;
  }

  /** @param {number} [by] */
  add(by = 1) {
    if (typeof by !== 'number') throw invalidType('by', 'number', by);
    if (!Number.isFinite(by)) throw invalidValue('by', 'must be finite', by);
    this.#add(this.#index, by);
  }

  /** The sum of what all processes have added. */
  get value() {
    return this.#native.sum(this.#index);
  }

  /** The sum of what this process has added. */
  get own() {
    return this.#native.own(this.#index);
  }
}

/** The tallies of a store. */
class Tallies {
  #store;

  /** @type {Map<string, Tally>} */
  #known = new Map();

  /** @type {NativeTallies | undefined} */
  #native;

  /** @type {ReturnType<NativeTallies['adder']> | undefined} */
  #add;

  /** @param {string} store the name of the store */
  constructor(store) {
    this.#store = store;
  }

  /** @param {string} name */
  get(name) {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    checkKey(name, 'name');
    if (Buffer.byteLength(name) > MAX_NAME) {
      throw invalidValue('name', `has ${MAX_NAME} bytes of UTF-8 at the most`, name.slice(0, 50));
    }
    try {
      this.#native ??= opener()(this.#store);
      this.#add ??= this.#native.adder();
      const index = this.#native.index(name);
      if (index === -1) throw new Error('ERR_RCLUSTER_TALLY_LIMIT A store has 256 tallies at the most');
      const tally = new Tally(name, this.#native, index, this.#add);
      this.#known.set(name, tally);
      return tally;
    } catch (error) {
      throw sharedError(/** @type {Error} */ (error));
    }
  }
}

/** @returns {typeof import('../../binding').openTallies} */
function opener() {
  if (!builtin.isWorker) return loadBinding().openTallies;
  const open = /** @type {any} */ (builtin)[OPEN];
  if (open === undefined) throw new Error('ERR_RCLUSTER_SHARED This worker has no link for tallies');
  return open;
}

module.exports = { Tallies };
