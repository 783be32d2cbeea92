'use strict';

// cluster.lead(): a function that runs in one process of the cluster. See index.d.ts.

const { Object, Promise, Set, Symbol } = require('../globals');
const builtin = require('../builtin');
const { invalidType } = require('../shared/errors');
const { checkName } = require('./check');
const { SPACE, acquire } = require('./connection');

/** @typedef {InstanceType<typeof import('./connection').Grant>} Grant */
/** @typedef {(facts: { signal: AbortSignal, token: number }) => unknown} Leader */

/** All of this process. @type {Set<Candidate>} */
const candidates = new Set();

/** A process that leads, or waits to. */
class Candidate {
  #stop = new AbortController();

  /** Aborted when it no longer leads. @type {AbortController | undefined} */
  #leading;

  /** @type {number | undefined} */
  #token;

  /** @type {Promise<void>} resolves when all is over, whatever came of it */
  #over;

  /**
   * @param {string} name
   * @param {Leader} leader
   */
  constructor(name, leader) {
    this.name = name;
    this.done = this.#run(leader);
    candidates.add(this);
    const onOver = () => void candidates.delete(this);
    // The rejection of `done` stays one that somebody has to handle.
    this.#over = new Promise((/** @type {(value: void) => void} */ resolve) => {
      void this.done.finally(resolve).catch(() => {});
    }).then(onOver);
  }

  get leading() {
    return this.#leading !== undefined && !this.#leading.signal.aborted;
  }

  get token() {
    return this.leading ? this.#token : undefined;
  }

  stop() {
    this.#stop.abort();
    return this.#over;
  }

  /** @param {Leader} leader */
  async #run(leader) {
    const grant = await this.#wait();
    if (grant === undefined) return;
    const leading = new AbortController();
    const { signal } = leading;
    const ended = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    grant.onLost = (/** @type {Error} */ error) => leading.abort(error);
    this.#stop.signal.addEventListener('abort', () => leading.abort(this.#stop.signal.reason), {
      once: true,
    });
    this.#leading = leading;
    this.#token = grant.token;
    try {
      await leader({ signal, token: grant.token });
      // It leads as long as it may: most functions only start something, and return.
      await ended;
    } catch (error) {
      // What an aborted function rejects with is no failure.
      const isAbort = signal.aborted && (error === signal.reason || isAbortError(error));
      if (!isAbort) throw error;
    } finally {
      leading.abort();
      grant.release();
    }
  }

  /** @returns {Promise<Grant | undefined>} */
  async #wait() {
    const { signal } = this.#stop;
    if (builtin.worker?.exitedAfterDisconnect) return undefined;
    try {
      const want = { space: SPACE.LEAD, name: this.name, signal };
      const grant = /** @type {Grant} */ (await acquire(want));
      if (!signal.aborted && grant.lost === undefined) return grant;
      grant.release();
      return undefined;
    } catch (error) {
      const { code } = /** @type {any} */ (error);
      if (signal.aborted || code === 'ERR_RCLUSTER_GONE') return undefined;
      throw error;
    }
  }
}

/** @param {unknown} error */
function isAbortError(error) {
  return /** @type {any} */ (error)?.name === 'AbortError';
}

// It is not enumerable, as that of a class.
Object.defineProperty(Candidate.prototype, Symbol.asyncDispose, {
  value: Candidate.prototype.stop,
  writable: true,
  configurable: true,
});

/**
 * @param {string} name
 * @param {Leader} leader
 */
function lead(name, leader) {
  checkName(name);
  if (typeof leader !== 'function') throw invalidType('leader', 'function', leader);
  if (candidates.size === 0) watchRetirement();
  return new Candidate(name, leader);
}

let watches = false;

/** A worker that is to go lets another one lead, and waits until its own function has ended. */
function watchRetirement() {
  if (watches) return;
  watches = true;
  builtin.worker?.on('retire', () => Promise.all([...candidates].map((candidate) => candidate.stop())));
}

module.exports = { lead };
