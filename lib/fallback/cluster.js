'use strict';

const { Math, Set, clearTimeout, monotonic } = require('../globals');
const { Member } = require('./member');
const { Budget, Failures } = require('./restarts');

/**
 * @typedef {import('../../index').Worker} Worker
 * @typedef {Omit<import('../primary/supervise/options').Complete, 'log'>} Options
 * @typedef {InstanceType<typeof import('./member').Member>} Member
 * @typedef {import('./member').Cause} Cause
 * @typedef {{ code: string, message: string } | null} Failure
 */

/** A slot of the cluster and its state. */
class Slot {
  /** @type {'filling' | 'serving' | 'backing-off' | 'given-up' | 'stopped' | 'emptying'} */
  state = 'filling';
  /** @type {string | null} the failure after which it was given up or stopped */
  failure = null;
  restarts = 0;
  /** @type {NodeJS.Timeout | undefined} */
  wait;

  /**
   * @param {Options} options
   * @param {number} generation
   */
  constructor({ backoff, restartIntensity }, generation) {
    /** The generation (the number of the reload) of its worker. */
    this.reloaded = generation;
    this.failures = new Failures(backoff);
    this.budget = new Budget(restartIntensity);
  }
}

/** The slots and the workers, and what is reported about them. */
class Cluster {
  /** @type {Options} */
  options = /** @type {any} */ (undefined);
  /** @type {unknown} Passed to each fork. */
  template;
  /** The number of the last reload. */
  generation = 0;
  /** @type {Slot[]} */
  slots = [];
  /** @type {Set<Member>} */
  members = new Set();
  #isClosed = false;
  #fork;
  #tell;
  #handlers;

  /**
   * @param {(template: any, slot: number) => Worker} fork
   * @param {(message: object) => void} tell
   * @param {import('./member').Handlers} handlers
   */
  constructor(fork, tell, handlers) {
    this.#fork = fork;
    this.#tell = tell;
    this.#handlers = handlers;
  }

  /** The number of slots, without those that are being removed. */
  get wanted() {
    return this.slots.filter(({ state }) => state !== 'emptying').length;
  }

  /**
   * @param {number} slot
   * @param {'current' | 'successor'} place
   */
  at(slot, place) {
    return [...this.members].find((member) => member.slot === slot && member.place === place);
  }

  /** @param {number} slot */
  isServing(slot) {
    return this.at(slot, 'current')?.isReady === true;
  }

  /**
   * Puts a slot into its initial state.
   * @param {number} slot
   */
  setSlot(slot) {
    this.slots[slot] = new Slot(this.options, this.generation);
  }

  /**
   * @param {number} slot
   * @param {'current' | 'successor'} place
   * @param {Cause} cause
   */
  start(slot, place, cause) {
    if (this.#isClosed || this.slots[slot] === undefined) return;
    const role = { slot, place, generation: this.generation, cause };
    const member = new Member(role, this.options, this.#handlers);
    this.members.add(member);
    if (place === 'current') this.slots[slot].state = 'filling';
    member.spawn(() => this.#fork(this.template, slot));
    if (member.id !== null) this.event('spawn', { worker: member.id, slot, cause });
  }

  /**
   * Starts a successor; the worker drains when that is ready.
   * @param {Member} member
   * @param {Cause} cause
   * @param {string} reason
   */
  replace(member, cause, reason) {
    member.leaves = reason;
    if (!this.at(member.slot, 'successor')) this.start(member.slot, 'successor', cause);
  }

  /**
   * Removes a slot as soon as its workers have ended.
   * @param {number} slot
   */
  empty(slot) {
    const its = this.slots[slot];
    its.state = 'emptying';
    clearTimeout(its.wait);
    for (const member of this.members) {
      if (member.slot !== slot || member.place === 'former') continue;
      if (member.stage === 'starting') member.terminate();
      else member.drain('scale', this.options.drainTimeout);
    }
  }

  /**
   * Starts no further worker, and drains all. Those that drain already get at most this time from now on.
   * @param {number} timeout in ms
   */
  close(timeout) {
    this.#isClosed = true;
    for (const { wait } of this.slots) clearTimeout(wait);
    for (const member of this.members) {
      if (member.stage === 'starting') member.terminate();
      else if (member.isReady) member.drain('shutdown', timeout);
      else member.shortenDrain(timeout);
    }
  }

  /**
   * The last failure, if no slot serves or will have another worker and not all of them ended without failure.
   * @returns {string | null | undefined}
   */
  hopeless() {
    const isOver = this.slots.every(({ state }, slot) => {
      return (state === 'given-up' || state === 'stopped') && !this.at(slot, 'current');
    });
    return isOver ? this.slots.find(({ failure }) => failure !== null)?.failure : undefined;
  }

  /**
   * The statistics of the slots.
   * @param {boolean} isEnding
   */
  slotStats(isEnding) {
    return this.slots.map(({ state, restarts, failures }, slot) => ({
      slot,
      state: isEnding || state === 'emptying' ? 'emptying' : this.isServing(slot) ? 'serving' : state,
      worker: this.at(slot, 'current')?.id ?? null,
      successor: this.at(slot, 'successor')?.id ?? null,
      restarts,
      failures: failures.count,
      uptime: ageOf(this.at(slot, 'current')),
      // Only the worker itself knows these.
      memory: null,
      busy: null,
    }));
  }

  /**
   * @param {string} name
   * @param {object} facts
   */
  event(name, facts) {
    this.#tell({ type: 'event', name, facts });
  }

  /**
   * @param {number[]} requests
   * @param {Failure} failure
   */
  answer(requests, failure) {
    for (const request of requests) this.#tell({ type: 'answer', request, failure });
  }

  /**
   * Ends the primary.
   * @param {number} code
   */
  stop(code) {
    this.#tell({ type: 'stop', code });
  }
}

/** @param {Member | undefined} member */
function ageOf(member) {
  return member === undefined ? null : Math.round(monotonic() - member.started);
}

module.exports = { Cluster };
