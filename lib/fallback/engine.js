'use strict';

// Supervision without the native part: the decisions of crates/core/src/control/supervise in JavaScript,
// carried out by the built-in cluster. It has the methods of the native part, so an app sees the same
// Supervisor class.

const { JSON, Math, Set, clearTimeout, monotonic, nextTick, random, setTimeout } = require('../globals');
const { Member } = require('./member');
const { Budget, Failures } = require('./restarts');

/**
 * @typedef {import('../../index').Worker} Worker
 * @typedef {Omit<import('../primary/supervise/options').Complete, 'log'>} Options
 * @typedef {InstanceType<typeof import('./member').Member>} Member
 * @typedef {InstanceType<typeof import('./restarts').Budget>} Budget
 * @typedef {import('./member').Cause} Cause
 * @typedef {import('./member').End} End
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

class Engine {
  #fork;
  #tell;
  /** @type {Options} */
  #options = /** @type {any} */ (undefined);
  /** @type {Set<Member>} */
  #members = new Set();
  /** @type {Slot[]} */
  #slots = [];
  /** @type {Budget} */
  #total = /** @type {any} */ (undefined);
  #restarts = 0;
  #generation = 0;
  /** @type {{ requests: number[], concurrency: number, started: number } | undefined} */
  #reload;
  /** @type {{ requests: number[], workers: number, from: number } | undefined} */
  #scale;
  /** @type {{ code: number | undefined } | undefined} */
  #ending;
  /** When starting began, in ms, and whether any worker has ever been ready. */
  #startUp = { since: monotonic(), succeeded: false };
  /** @type {number[]} The shutdown requests that wait for the end. */
  #stops = [];
  /** @type {NodeJS.Timeout | undefined} */
  #stopping;
  /** @type {unknown} Passed to each fork. */
  #template;
  /** @type {import('./member').Handlers} */
  #handlers = {
    onReady: (member) => this.#onReady(member),
    onLate: (member) => this.#onLate(member),
    onRetire: ({ worker }, reason) => void this.retire(worker.id, reason, 'worker'),
    onDrainTimeout: ({ worker, slot }) => {
      this.#event('drain-timeout', { worker: worker.id, slot, connections: null });
    },
    onExit: (member, end) => this.#onExit(member, end),
  };

  /**
   * @param {(template: any, slot: number) => Worker} fork
   * @param {(message: object) => void} tell
   */
  constructor(fork, tell) {
    this.#fork = fork;
    this.#tell = tell;
  }

  /**
   * @param {string} text The options as JSON.
   * @param {unknown} template
   */
  supervise(text, template) {
    /** @type {Options} */
    const options = JSON.parse(text);
    this.#options = options;
    this.#template = template;
    this.#total = new Budget(options.totalIntensity);
    for (let slot = 0; slot < options.workers; slot++) this.#slots.push(new Slot(options, 0));
    // The app has its Supervisor by then, and can listen for events.
    nextTick(() => {
      for (const slot of this.#slots.keys()) this.#start(slot, 'current', 'start');
    });
  }

  /**
   * @param {unknown} template
   * @param {number} concurrency
   * @param {number} request
   */
  reload(template, concurrency, request) {
    if (this.#ending) return this.#answer(request, shutDown());
    if (this.#reload) return void this.#reload.requests.push(request);
    this.#template = template;
    this.#generation++;
    this.#startUp.since = monotonic();
    this.#reload = { requests: [request], concurrency, started: monotonic() };
    this.#event('reload', { phase: 'start', slots: this.#slots.length, concurrency });
    this.#advance();
  }

  /**
   * @param {number} workers
   * @param {number} request
   */
  scale(workers, request) {
    if (this.#ending) return this.#answer(request, shutDown());
    if (this.#scale?.workers === workers) return void this.#scale.requests.push(request);
    const message = `another call wants ${workers} workers`;
    this.#endScale({ code: 'ERR_RCLUSTER_SUPERSEDED', message });
    this.#scale = { requests: [request], workers, from: -1 };
    this.#advance();
  }

  /**
   * A second call can only shorten the delay.
   * @param {number} delay how long workers continue as before, in ms
   * @param {number} timeout how long they may take to drain after that, in ms
   * @param {number} request
   */
  shutdown(delay, timeout, request) {
    this.#stops.push(request);
    const end = () => {
      this.#stopping = undefined;
      this.#end(timeout, undefined);
      this.#advance();
    };
    clearTimeout(this.#stopping);
    if (this.#ending || delay === 0) return end();
    if (this.#stopping === undefined) this.#event('stopping', { delay });
    this.#stopping = setTimeout(end, delay);
  }

  force() {
    this.#end(0, undefined);
    for (const member of this.#members) member.kill();
  }

  stats() {
    const members = [...this.#members];
    return JSON.stringify({
      workers: this.#slots.filter(({ state }) => state !== 'emptying').length,
      ready: [...this.#slots.keys()].filter((slot) => this.#isServing(slot)).length,
      processes: members.length,
      draining: members.filter(({ place }) => place === 'former').length,
      standby: { ready: 0, starting: 0 },
      restarts: this.#restarts,
      reloading: this.#reload !== undefined,
      stopping: this.#stopping !== undefined,
      shuttingDown: this.#ending !== undefined,
      slots: this.#slots.map(({ state, restarts, failures }, slot) => ({
        slot,
        state: this.#isServing(slot) && state !== 'emptying' ? 'serving' : state,
        worker: this.#at(slot, 'current')?.worker.id ?? null,
        successor: this.#at(slot, 'successor')?.worker.id ?? null,
        restarts,
        failures: failures.count,
        uptime: ageOf(this.#at(slot, 'current')),
        // Only the worker itself knows these.
        memory: null,
        busy: null,
      })),
    });
  }

  /**
   * Replaces and drains a worker, at its own request or the app's.
   * @param {number} id
   * @param {string} reason
   * @param {'worker' | 'primary'} by
   * @returns {boolean} whether it is a supervised worker
   */
  retire(id, reason, by) {
    const member = [...this.#members].find(({ worker }) => worker.id === id);
    if (member === undefined) return false;
    if (member.place === 'former' || member.leaves !== undefined) return true;
    const { slot } = member;
    this.#event('retire', { worker: id, slot, reason, detail: '', by });
    if (this.#ending || member.stage === 'starting') return true;
    this.#replace(member, 'retire', reason);
    return true;
  }

  /**
   * @param {number} slot
   * @param {'current' | 'successor'} place
   * @param {Cause} cause
   */
  #start(slot, place, cause) {
    if (this.#ending || this.#slots[slot] === undefined) return;
    const worker = this.#fork(this.#template, slot);
    const role = { slot, place, generation: this.#generation, cause };
    this.#members.add(new Member(worker, role, this.#options, this.#handlers));
    if (place === 'current') this.#slots[slot].state = 'filling';
    this.#event('spawn', { worker: worker.id, slot, cause });
  }

  /** @param {Member} member */
  #onReady(member) {
    const { worker, slot } = member;
    const now = monotonic();
    member.stage = 'ready';
    this.#startUp.succeeded = true;
    this.#event('ready', { worker: worker.id, slot, bootMs: Math.round(now - member.since) });
    member.since = now;
    const { age, jitter } = this.#options.recycle;
    if (age > 0) {
      const limit = Math.round(age * (1 + jitter * (2 * random() - 1)));
      member.limitAge(limit, () => this.#onAge(member, limit));
    }
    const place = this.#slots[slot];
    if (place !== undefined) {
      place.state = 'serving';
      place.reloaded = Math.max(place.reloaded, member.generation);
    }
    if (member.place === 'successor') {
      const old = this.#at(slot, 'current');
      member.place = 'current';
      old?.drain(old.leaves ?? 'reload', this.#options.drainTimeout);
    }
    this.#advance();
  }

  /** @param {Member} member */
  #onLate(member) {
    const { place } = member;
    member.terminate();
    this.#lost(member, place, { code: null, signal: null, reason: 'it was not ready in time' }, false);
    this.#advance();
  }

  /**
   * @param {Member} member
   * @param {number} limit in ms
   */
  #onAge(member, limit) {
    if (member.place !== 'current' || member.leaves !== undefined || this.#ending) return;
    const value = Math.round(monotonic() - member.since);
    this.#event('recycle', { worker: member.worker.id, slot: member.slot, cause: 'age', value, limit });
    this.#replace(member, 'recycle', 'recycle');
  }

  /**
   * Starts a successor; the worker drains when that is ready.
   * @param {Member} member
   * @param {Cause} cause
   * @param {string} reason
   */
  #replace(member, cause, reason) {
    member.leaves = reason;
    if (!this.#at(member.slot, 'successor')) this.#start(member.slot, 'successor', cause);
  }

  /**
   * @param {Member} member
   * @param {End} end
   */
  #onExit(member, end) {
    if (!this.#members.delete(member)) return;
    const { slot, place, isReady: wasReady } = member;
    if (wasReady && monotonic() - member.since >= this.#options.backoff.resetAfter) {
      const its = this.#slots[slot];
      if (its) its.failures = new Failures(this.#options.backoff);
    }
    if (place !== 'former' && !this.#ending) this.#lost(member, place, end, wasReady);
    this.#advance();
  }

  /**
   * Handles the loss of a worker that was current or a successor.
   * @param {Member} member
   * @param {'current' | 'successor' | 'former'} place
   * @param {End} end
   * @param {boolean} wasReady
   */
  #lost(member, place, end, wasReady) {
    const { slot } = member;
    const facts = { worker: member.worker.id, slot, ...end };
    if (!wasReady) this.#failStart(slot, member, end);
    const current = this.#at(slot, 'current');
    if (place === 'successor') {
      // The current worker stays. If it must leave, it gets another successor later.
      if (current?.leaves === undefined || member.cause === 'reload') return this.#stay(current);
      return this.#again(slot, facts, wasReady, 'successor', member.cause);
    }
    const successor = this.#at(slot, 'successor');
    if (successor) {
      successor.place = 'current';
      this.#event('restart', { ...facts, phase: phase(wasReady), delay: 0, restarts: this.#used(slot) });
      return;
    }
    if (this.#callsForAnother(end)) return this.#again(slot, facts, wasReady, 'current', 'restart');
    this.#slots[slot].state = 'stopped';
    this.#slots[slot].failure = end.code === 0 ? null : end.reason;
    this.#event('stopped', facts);
  }

  /** @param {Member | undefined} current */
  #stay(current) {
    if (current) current.leaves = undefined;
  }

  /** @param {number} slot */
  #used(slot) {
    return this.#slots[slot].budget.used(monotonic());
  }

  /**
   * Starts another worker after a failure, at once or after a wait, if the budgets allow it.
   * @param {number} slot
   * @param {End & { worker: number }} facts
   * @param {boolean} wasReady
   * @param {'current' | 'successor'} place
   * @param {Cause} cause
   */
  #again(slot, facts, wasReady, place, cause) {
    const its = this.#slots[slot];
    const delay = its.failures.add(wasReady, random());
    const at = monotonic() + delay;
    const spent = [its.budget, this.#total].find((budget) => !budget.admits(at));
    if (!wasReady && this.#isStartUpOver(at, its.failures.count)) {
      const period = Math.round(monotonic() - this.#startUp.since);
      return this.#giveUp(slot, facts, { scope: 'start-up', restarts: its.restarts, period });
    }
    if (spent) {
      const scope = spent === this.#total ? 'total' : 'slot';
      return this.#giveUp(slot, facts, { scope, restarts: spent.used(at), period: spent.period });
    }
    its.budget.spend(at);
    this.#total.spend(at);
    its.restarts++;
    this.#restarts++;
    this.#event('restart', { ...facts, phase: phase(wasReady), delay, restarts: its.budget.used(at) });
    if (delay > 0) this.#event('backoff', { slot, delay, failures: its.failures.count });
    if (place === 'current') its.state = 'backing-off';
    its.wait = setTimeout(() => this.#start(slot, place, cause), delay);
  }

  /**
   * @param {number} slot
   * @param {End & { worker: number }} facts
   * @param {{ scope: 'slot' | 'total' | 'start-up', restarts: number, period: number }} limit
   */
  #giveUp(slot, facts, limit) {
    const its = this.#slots[slot];
    its.state = 'given-up';
    its.failure = facts.reason;
    this.#event('gave-up', { ...facts, ...limit });
    if (this.#options.onGiveUp === 'exit') this.#endForFailure(facts.reason);
  }

  /**
   * Whether to stop starting workers in a cluster in which none has ever been ready.
   * @param {number} at
   * @param {number} failures
   */
  #isStartUpOver(at, failures) {
    const { startUpLimit } = this.#options;
    const { since, succeeded } = this.#startUp;
    return startUpLimit > 0 && !succeeded && failures >= 3 && at - since >= startUpLimit;
  }

  /** @param {string} reason */
  #endForFailure(reason) {
    // After an announced shutdown this is not a failure: it only ends earlier.
    const code = this.#stopping === undefined ? this.#options.giveUpExitCode : undefined;
    clearTimeout(this.#stopping);
    this.#stopping = undefined;
    this.#end(this.#options.shutdownTimeout, code, reason);
  }

  /**
   * Ends the cluster when no slot serves or will have another worker, unless all of them ended without
   * failure.
   */
  #endIfHopeless() {
    const isOver = this.#slots.every(({ state }, slot) => {
      return (state === 'given-up' || state === 'stopped') && !this.#at(slot, 'current');
    });
    const reason = isOver ? this.#slots.find(({ failure }) => failure !== null)?.failure : undefined;
    if (reason) this.#endForFailure(reason);
  }

  /** @param {End} end */
  #callsForAnother({ code }) {
    const { restart, stopExitCodes } = this.#options;
    if (code !== null && stopExitCodes.includes(code)) return false;
    return restart === 'always' || (restart === 'on-failure' && code !== 0);
  }

  /**
   * A worker has failed to start. If a reload or a scaling started it, that fails.
   * @param {number} slot
   * @param {Member} member
   * @param {End} end
   */
  #failStart(slot, member, end) {
    const failure = {
      code: 'ERR_RCLUSTER_NOT_READY',
      message: `the new worker of slot ${slot} did not get ready: ${end.reason}`,
    };
    if (this.#scale && this.#scale.from >= 0 && slot >= this.#scale.from) this.#endScale(failure);
    if (!this.#reload || member.generation !== this.#generation) return;
    const { requests } = this.#reload;
    this.#reload = undefined;
    const reloaded = this.#slots.filter(({ reloaded: its }) => its === this.#generation).length;
    this.#event('reload', { phase: 'failed', reason: failure.message, reloaded });
    for (const request of requests) this.#answer(request, failure);
    for (const other of this.#members) {
      if (other === member || other.place !== 'successor' || other.cause !== 'reload') continue;
      this.#stay(this.#at(other.slot, 'current'));
      other.terminate();
    }
  }

  /** Continues what is in progress: a reload, a scaling, the shutdown. */
  #advance() {
    if (!this.#ending) this.#endIfHopeless();
    if (this.#ending) return this.#finishEnd(this.#ending);
    if (this.#reload) this.#advanceReload(this.#reload);
    if (this.#scale && !this.#reload) this.#advanceScale(this.#scale);
  }

  /** @param {{ requests: number[], concurrency: number, started: number }} reload */
  #advanceReload({ requests, concurrency, started }) {
    const slots = [...this.#slots.keys()];
    const isNew = (/** @type {number} */ slot) => this.#slots[slot].reloaded === this.#generation;
    const isStarting = (/** @type {number} */ slot) =>
      [...this.#members].some((one) => {
        return one.slot === slot && one.stage === 'starting' && one.generation === this.#generation;
      });
    let free = concurrency - slots.filter(isStarting).length;
    for (const slot of slots) {
      if (free <= 0 || isNew(slot) || isStarting(slot)) continue;
      free--;
      clearTimeout(this.#slots[slot].wait);
      const stale = this.#at(slot, 'successor');
      stale?.terminate();
      const current = this.#at(slot, 'current');
      if (current?.stage === 'starting') current.terminate();
      if (current?.isReady) this.#replace(current, 'reload', 'reload');
      else this.#start(slot, 'current', 'reload');
    }
    if (!slots.every(isNew)) return;
    this.#reload = undefined;
    this.#event('reload', { phase: 'done', tookMs: Math.round(monotonic() - started) });
    for (const request of requests) this.#answer(request, null);
  }

  /** @param {{ requests: number[], workers: number, from: number }} scale */
  #advanceScale(scale) {
    const wanted = this.#slots.filter(({ state }) => state !== 'emptying').length;
    if (scale.from < 0) {
      scale.from = wanted;
      for (const [slot, its] of this.#slots.entries()) if (slot >= scale.workers) this.#empty(slot, its);
      for (let slot = wanted; slot < scale.workers; slot++) {
        this.#slots[slot] = new Slot(this.#options, this.#generation);
        this.#start(slot, 'current', 'scale');
      }
    }
    const isGone = (/** @type {number} */ slot) => ![...this.#members].some((member) => member.slot === slot);
    while (this.#slots.length > scale.workers && isGone(this.#slots.length - 1)) this.#slots.pop();
    const areUp = [...this.#slots.keys()].slice(scale.from).every((slot) => this.#isServing(slot));
    if (this.#slots.length === scale.workers && areUp) this.#endScale(null);
  }

  /**
   * @param {number} slot
   * @param {Slot} its
   */
  #empty(slot, its) {
    its.state = 'emptying';
    clearTimeout(its.wait);
    for (const member of this.#members) {
      if (member.slot !== slot || member.place === 'former') continue;
      if (member.stage === 'starting') member.terminate();
      else member.drain('scale', this.#options.drainTimeout);
    }
  }

  /** @param {Failure} failure */
  #endScale(failure) {
    const requests = this.#scale?.requests ?? [];
    this.#scale = undefined;
    for (const request of requests) this.#answer(request, failure);
  }

  /**
   * @param {number} timeout in ms
   * @param {number | undefined} code the exit code of the primary, if supervision has given up
   * @param {string} [reason] the last failure in that case
   */
  #end(timeout, code, reason) {
    if (this.#ending) return;
    this.#ending = { code };
    const gaveUp = code !== undefined;
    const why = { reason: gaveUp ? reason : null, exitCode: code ?? null };
    this.#event('shutdown', { gaveUp, ...why, timeout });
    for (const request of this.#reload?.requests ?? []) this.#answer(request, shutDown());
    this.#reload = undefined;
    this.#endScale(shutDown());
    for (const { wait } of this.#slots) clearTimeout(wait);
    for (const member of this.#members) {
      if (member.stage === 'starting') member.terminate();
      else if (member.isReady) member.drain('shutdown', timeout);
    }
  }

  /** @param {{ code: number | undefined }} ending */
  #finishEnd(ending) {
    if (this.#members.size > 0) return;
    for (const request of this.#stops.splice(0)) this.#answer(request, null);
    if (ending.code === undefined) return;
    this.#tell({ type: 'stop', code: ending.code });
    ending.code = undefined;
  }

  /**
   * @param {number} slot
   * @param {'current' | 'successor'} place
   */
  #at(slot, place) {
    return [...this.#members].find((member) => member.slot === slot && member.place === place);
  }

  /** @param {number} slot */
  #isServing(slot) {
    return this.#at(slot, 'current')?.isReady === true;
  }

  /**
   * @param {string} name
   * @param {object} facts
   */
  #event(name, facts) {
    this.#tell({ type: 'event', name, facts });
  }

  /**
   * @param {number} request
   * @param {Failure} failure
   */
  #answer(request, failure) {
    this.#tell({ type: 'answer', request, failure });
  }
}

/** @param {boolean} wasReady */
function phase(wasReady) {
  return wasReady ? 'service' : 'start-up';
}

/** @returns {Failure} */
function shutDown() {
  return { code: 'ERR_RCLUSTER_SHUT_DOWN', message: 'the cluster is shut down' };
}

/** @param {Member | undefined} member */
function ageOf(member) {
  return member === undefined ? null : Math.round(monotonic() - member.started);
}

module.exports = { Engine };
