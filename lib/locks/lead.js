'use strict';

// cluster.lead(): a function that runs in one process of the cluster. See index.d.ts.

const { Object, Promise, Set, Symbol } = require('../globals');
const builtin = require('../builtin');
const { invalidType } = require('../shared/errors');
const { members } = require('../shared/members');
const { beforeRetiring } = require('../shared/retiring');
const { checkLease, checkName } = require('./check');
const { SPACE, acquire } = require('./connection');

/** @typedef {InstanceType<typeof import('./connection').Grant>} Grant */
/** @typedef {(facts: { signal: AbortSignal, token: number }) => unknown} Leader */

/** All candidates of this process. @type {Set<Candidate>} */
const candidates = new Set();

/** @typedef {{ candidate: Candidate, outer: Inside | undefined }} Inside the functions that have led to the running code */

/** @type {import('node:async_hooks').AsyncLocalStorage<Inside> | undefined} created for the first leader of the app */
let inside;

/** A candidate of this process, which leads or waits to lead. */
class Candidate {
  #stop = new AbortController();

  /** Aborted when it no longer leads. @type {AbortController | undefined} */
  #leading;

  /** @type {number | undefined} */
  #token;

  /** Whether its function has not ended. */
  #isRunning = false;

  /** @type {boolean} */
  #isBackground;

  /** @type {number | undefined} */
  #ttl;

  /** @type {Promise<void>} resolves when the candidate has ended, even if `done` rejects */
  #over;

  /**
   * @param {string} name
   * @param {Leader} leader
   * @param {boolean} isBackground whether the wait does not keep the process alive
   * @param {number | undefined} ttl of the lease in ms, if the scope is all machines
   */
  constructor(name, leader, isBackground, ttl) {
    this.name = name;
    this.#ttl = ttl;
    this.#isBackground = isBackground;
    candidates.add(this);
    const run = this.#run(leader);
    const onOver = () => void candidates.delete(this);
    this.#over = run.then(onOver, onOver);
    // A promise of its own, so that a rejection is unhandled unless the caller handles it.
    this.done = run.then(() => {});
  }

  get leading() {
    return this.#leading !== undefined && !this.#leading.signal.aborted;
  }

  get token() {
    return this.leading ? this.#token : undefined;
  }

  stop() {
    const over = this.end();
    // A function that waited for its own end would wait forever.
    return this.#isCalling() ? Promise.resolve() : over;
  }

  /** Stops it, and waits for its function whoever calls this. */
  end() {
    this.#stop.abort();
    return this.#over;
  }

  /** Whether its own function has led to the running code, and has not ended. */
  #isCalling() {
    let leader = inside?.getStore();
    while (leader !== undefined && leader.candidate !== this) leader = leader.outer;
    return leader !== undefined && this.#isRunning;
  }

  /**
   * @param {Leader} leader
   * @param {{ signal: AbortSignal, token: number }} facts
   */
  async #call(leader, facts) {
    // A function of rcluster's own does not stop itself.
    if (this.#isBackground) return void (await leader(facts));
    inside ??= new (require('node:async_hooks').AsyncLocalStorage)();
    let outer = inside.getStore();
    while (outer !== undefined && !outer.candidate.#isRunning) outer = outer.outer;
    this.#isRunning = true;
    try {
      await inside.run({ candidate: this, outer }, leader, facts);
    } finally {
      this.#isRunning = false;
    }
  }

  /** @param {Leader} leader */
  async #run(leader) {
    // A leader that has lost its lease becomes a candidate again: the server was unreachable, and may be
    // back.
    while ((await this.#lead(leader)) === 'lost');
  }

  /**
   * @param {Leader} leader
   * @returns {Promise<'over' | 'lost'>}
   */
  async #lead(leader) {
    const grant = await this.#wait();
    if (grant === undefined) return 'over';
    const leading = new AbortController();
    const { signal } = leading;
    const ended = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    grant.onLost = (/** @type {Error} */ error) => leading.abort(error);
    grant.onLeave = () => void this.end();
    const onStop = () => leading.abort(this.#stop.signal.reason);
    this.#stop.signal.addEventListener('abort', onStop, { once: true });
    this.#leading = leading;
    this.#token = grant.token;
    try {
      await this.#call(leader, { signal, token: grant.token });
      // Leads until it is aborted: most functions only start something, and return.
      await ended;
    } catch (error) {
      // A rejection of an aborted function is not a failure.
      const isAbort = signal.aborted && (error === signal.reason || isAbortError(error));
      if (!isAbort) throw error;
    } finally {
      this.#stop.signal.removeEventListener('abort', onStop);
      leading.abort();
      grant.release();
    }
    const { code } = /** @type {any} */ (grant.lost ?? {});
    return code === 'ERR_RCLUSTER_LOCK_LOST' && !this.#stop.signal.aborted ? 'lost' : 'over';
  }

  /** @returns {Promise<Grant | undefined>} */
  async #wait() {
    const { signal } = this.#stop;
    if (builtin.worker?.exitedAfterDisconnect) return undefined;
    try {
      const ttl = this.#ttl;
      const space = ttl === undefined ? SPACE.LEAD : SPACE.LEASED_LEAD;
      const want = { space, name: this.name, ttl, signal, isBackground: this.#isBackground };
      for (;;) {
        const grant = /** @type {Grant} */ (await acquire(want));
        if (signal.aborted) {
          grant.release();
          return undefined;
        }
        // It may have been lost before this function got to run.
        if (grant.lost === undefined) return grant;
      }
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

// Not enumerable, like a method of a class.
Object.defineProperty(Candidate.prototype, Symbol.asyncDispose, {
  value: Candidate.prototype.stop,
  writable: true,
  configurable: true,
});

/**
 * @param {string} name
 * @param {Leader} leader
 * @param {boolean} [isBackground] whether the wait does not keep the process alive
 * @param {number} [ttl] of the lease in ms, if the scope is all machines
 */
function lead(name, leader, isBackground = false, ttl = undefined) {
  checkName(name);
  if (typeof leader !== 'function') throw invalidType('leader', 'function', leader);
  return new Candidate(name, leader, isBackground, ttl);
}

/**
 * cluster.lead(), with the arguments of the application.
 * @param {string} name
 * @param {any} options
 * @param {Leader} [leader]
 */
function leadWith(name, options, leader) {
  if (leader === undefined) return lead(name, options);
  const { scope, ttl } = members(options, ['scope', 'ttl']);
  return lead(name, leader, false, checkLease(scope, ttl));
}

// A retiring worker lets another one lead, and waits until its own function has ended.
beforeRetiring(() => Promise.all([...candidates].map((candidate) => candidate.end())));

module.exports = { lead, leadWith };
