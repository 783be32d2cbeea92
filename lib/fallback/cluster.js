'use strict';

const { Math, Set, clearTimeout, monotonic, wallClock } = require('../globals');
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
  /** @type {'filling' | 'serving' | 'backing-off' | 'given-up' | 'stopped' | 'ending' | 'emptying'} */
  state = 'filling';
  /** @type {Member | undefined} In the state 'ending' the worker that drains; its end decides what follows. */
  last;
  /** @type {string | null} the failure after which it was given up or stopped */
  failure = null;
  restarts = 0;
  /** @type {NodeJS.Timeout | undefined} Until its next worker is started. */
  wait;
  /** @type {NodeJS.Timeout | undefined} Until its worker may be recycled. */
  recycling;
  noRecycleBefore = 0;

  /**
   * @param {Options} options
   * @param {number} generation
   */
  constructor({ backoff, restartIntensity }, generation) {
    /** The generation (the number of the reload) of its worker. */
    this.reloaded = generation;
    this.failures = new Failures(backoff);
    this.budget = new Budget(restartIntensity);
    this.recycles = new Budget({ ...restartIntensity, max: Math.max(1, restartIntensity.max) });
  }

  /** Whether it has a worker. */
  get isHeld() {
    return this.state === 'filling' || this.state === 'serving';
  }

  /** No worker is to be started for it. */
  cancel() {
    clearTimeout(this.wait);
    clearTimeout(this.recycling);
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
  /** @type {Record<number, object>} How the last worker of each slot has ended. */
  lastExits = {};
  #isClosed = false;
  #fork;
  #tell;
  #handlers;

  /**
   * @param {(template: any, slot: number, drainTimeout: number) => Worker} fork
   * @param {(message: object) => void} tell
   * @param {import('./member').Handlers} handlers
   */
  constructor(fork, tell, handlers) {
    this.#fork = fork;
    this.#tell = tell;
    this.#handlers = handlers;
  }

  /** The slots, without those that are being removed, which are the last ones. */
  get wanted() {
    return [...this.slots.keys()].filter((slot) => this.slots[slot].state !== 'emptying');
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
   * Starts a worker for a slot: its current one, or a successor if there is one.
   * @param {number} slot
   * @param {Cause} cause
   */
  start(slot, cause) {
    if (this.#isClosed) return;
    const place = this.at(slot, 'current') ? 'successor' : 'current';
    const role = { slot, place, generation: this.generation, cause };
    const member = new Member(/** @type {any} */ (role), this.options, this.#handlers);
    this.members.add(member);
    this.slots[slot].state = 'filling';
    member.spawn(() => this.#fork(this.template, slot, this.options.drainTimeout));
    if (member.id !== null) this.event('spawn', { worker: member.id, slot, cause });
  }

  /**
   * Starts a successor; the worker drains when that is ready.
   * @param {Member} member
   * @param {Cause} cause
   * @param {string} reason
   */
  replace(member, cause, reason) {
    member.leave(reason);
    if (!this.at(member.slot, 'successor')) this.start(member.slot, cause);
  }

  /**
   * Remembers how a worker has ended.
   * @param {Member} member
   * @param {import('./member').End} end
   */
  noteExit({ id, slot, why }, { code, signal, reason: detail }) {
    if (id === null) return;
    const reason = signal === null ? 'exit' : 'signal';
    const unknown = { error: null, stderrTail: null };
    const exit = { worker: id, code, signal, reason, detail, at: wallClock(), ...unknown, ...why };
    this.lastExits[slot] = exit;
  }

  /**
   * A worker is no longer needed. One that is not ready has nothing to finish.
   * @param {Member} member
   * @param {string} reason
   */
  sendOff(member, reason) {
    this.noteHealth(member);
    if (member.isReady) member.drain(reason, this.options.drainTimeout);
    else member.terminate();
  }

  /**
   * A worker that has been healthy for long enough resets the failures of its slot.
   * @param {Member} member
   */
  noteHealth({ slot, place, isReady, since }) {
    const { backoff } = this.options;
    if (place !== 'current' || !isReady || monotonic() - since < backoff.resetAfter) return;
    this.slots[slot].failures = new Failures(backoff);
  }

  /**
   * New code may work, so a slot that was given up, is stopped or waits is tried again.
   * @param {number} slot
   */
  revive(slot) {
    const its = this.slots[slot];
    clearTimeout(its.wait);
    if (its.isHeld) return;
    its.failures = new Failures(this.options.backoff);
    its.budget = new Budget(this.options.restartIntensity);
  }

  /** Forgets the last slots if they are to be removed and have no worker any more. */
  forgetEmpty() {
    const isInUse = (/** @type {number} */ slot) => [...this.members].some((it) => it.slot === slot);
    const { slots } = this;
    while (slots.at(-1)?.state === 'emptying' && !isInUse(slots.length - 1)) slots.pop();
  }

  /**
   * Removes a slot as soon as its workers have ended.
   * @param {number} slot
   */
  empty(slot) {
    const its = this.slots[slot];
    its.state = 'emptying';
    its.cancel();
    for (const member of this.members) {
      if (member.slot === slot && member.place !== 'former') this.sendOff(member, 'scale');
    }
  }

  /**
   * Starts no further worker, and drains all. Those that drain already get at most this time from now on.
   * @param {number} timeout in ms
   */
  close(timeout) {
    this.#isClosed = true;
    for (const slot of this.slots) slot.cancel();
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
    const isOver = this.wanted.every((slot) => {
      return ['given-up', 'stopped'].includes(this.slots[slot].state) && !this.at(slot, 'current');
    });
    if (!isOver) return undefined;
    return this.wanted.map((slot) => this.slots[slot].failure).find((failure) => failure !== null);
  }

  /**
   * The statistics of the slots.
   * @param {boolean} isEnding
   */
  slotStats(isEnding) {
    return this.slots.map(({ state, restarts, failures }, slot) => ({
      slot,
      state: isEnding ? 'emptying' : this.#stateOf(slot, state),
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
   * @param {number} slot
   * @param {Slot['state']} state
   */
  #stateOf(slot, state) {
    if (state !== 'emptying' && this.isServing(slot)) return 'serving';
    return state === 'ending' ? 'stopped' : state;
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
