'use strict';

const { failure, invalidValue } = require('./errors');
const { checkRevision } = require('./options');
const steps = require('./steps');

/** The largest number of operations in a batch. */
const MAX = 1024;

/** Operations that are applied all together or not at all. See types/shared.d.ts. */
class Batch {
  /** @type {import('./steps').Step[]} */
  #steps = [];

  /** @type {((steps: import('./steps').Step[]) => Promise<any>) | undefined} */
  #commit;

  /** @param {(steps: import('./steps').Step[]) => Promise<any>} commit */
  constructor(commit) {
    this.#commit = commit;
  }

  /** @param {import('./steps').Step} step */
  #add(step) {
    if (this.#steps.length === MAX) {
      throw invalidValue('batch', `has ${MAX} operations at the most`, MAX + 1);
    }
    this.#steps.push(step);
    return this;
  }

  /**
   * @param {string} key
   * @param {number} revision
   */
  check(key, revision) {
    return this.#add(steps.check(key, checkRevision(revision, 'revision')));
  }

  /**
   * @param {string} key
   * @param {unknown} value
   * @param {object} [options]
   */
  set(key, value, options) {
    return this.#add(steps.set(key, value, options));
  }

  /**
   * @param {string} key
   * @param {object} [options]
   */
  delete(key, options) {
    return this.#add(steps.remove(key, options));
  }

  /**
   * @param {string} key
   * @param {number} [by]
   * @param {object} [options]
   */
  increment(key, by = 1, options) {
    return this.#add(steps.increment(key, by, options));
  }

  async commit() {
    const commit = this.#commit;
    if (commit === undefined) throw failure('ERR_INVALID_STATE', 'The batch has been committed');
    this.#commit = undefined;
    return commit(this.#steps);
  }
}

module.exports = { Batch };
