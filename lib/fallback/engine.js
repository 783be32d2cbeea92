'use strict';

// Supervision without the native part: the decisions of crates/core/src/control/supervise in JavaScript,
// carried out by the built-in cluster. It has the methods of the native part, so an app sees the same
// Supervisor class.

const { JSON, Math, monotonic, nextTick, random, setTimeout } = require('../globals');
const { Cluster } = require('./cluster');
const { Reload } = require('./reload');
const { Budget, Failures, StartUp } = require('./restarts');
const { Run } = require('./run');
const { Scale } = require('./scale');

/** What a worker has not done that was not ready in time, by the option `ready`. */
const MISSED = {
  online: '',
  listening: ': none of its servers listens',
  explicit: ': it has not called cluster.worker.ready()',
};

/**
 * @typedef {import('../../index').Worker} Worker
 * @typedef {import('./cluster').Member} Member
 * @typedef {import('./cluster').Options} Options
 * @typedef {import('./member').Cause} Cause
 * @typedef {import('./member').End} End
 */

class Engine {
  #cluster;
  #reload;
  #scale;
  #run = new Run();
  #startUp = new StartUp();
  /** @type {InstanceType<typeof Budget>} */
  #total = /** @type {any} */ (undefined);
  #restarts = 0;

  /**
   * @param {(template: any, slot: number) => Worker} fork
   * @param {(message: object) => void} tell
   */
  constructor(fork, tell) {
    this.#cluster = new Cluster(fork, tell, {
      onReady: (member) => this.#onReady(member),
      onLate: (member) => this.#onLate(member),
      onRetire: ({ id }, reason) => void this.retire(/** @type {number} */ (id), reason, 'worker'),
      onDrainTimeout: ({ id, slot }) => {
        this.#cluster.event('drain-timeout', { worker: id, slot, connections: null });
      },
      onExit: (member, end) => this.#onExit(member, end),
    });
    this.#reload = new Reload(this.#cluster);
    this.#scale = new Scale(this.#cluster);
  }

  /**
   * @param {string} text The options as JSON.
   * @param {unknown} template
   */
  supervise(text, template) {
    /** @type {Options} */
    const options = JSON.parse(text);
    const cluster = this.#cluster;
    cluster.options = options;
    cluster.template = template;
    this.#total = new Budget(options.totalIntensity);
    for (let slot = 0; slot < options.workers; slot++) cluster.setSlot(slot);
    // The app has its Supervisor by then, and can listen for events.
    nextTick(() => {
      for (const slot of cluster.slots.keys()) cluster.start(slot, 'current', 'start');
    });
  }

  /**
   * @param {unknown} template
   * @param {number} concurrency
   * @param {number} request
   */
  reload(template, concurrency, request) {
    if (this.#run.isStopping) return this.#cluster.answer([request], shutDown());
    if (!this.#reload.ask(concurrency, request)) return;
    this.#cluster.template = template;
    this.#startUp.begin();
    this.#advance();
  }

  /**
   * @param {number} workers
   * @param {number} request
   */
  scale(workers, request) {
    if (this.#run.isStopping) return this.#cluster.answer([request], shutDown());
    if (this.#scale.ask(workers, request)) this.#advance();
  }

  /**
   * A second call can only shorten the delay and the drains.
   * @param {number} delay how long workers continue as before, in ms
   * @param {number} timeout how long they may take to drain after that, in ms
   * @param {number} request
   */
  shutdown(delay, timeout, request) {
    const end = (/** @type {number} */ limit) => {
      this.#end(limit, undefined);
      this.#advance();
    };
    if (!this.#run.announce(delay, timeout, request, end)) return;
    this.#cluster.event('stopping', { delay });
    this.#abandon();
  }

  force() {
    this.#run.cancel();
    this.#end(0, undefined);
    for (const member of this.#cluster.members) member.kill();
    this.#advance();
  }

  stats() {
    const cluster = this.#cluster;
    const members = [...cluster.members];
    return JSON.stringify({
      workers: cluster.wanted,
      ready: [...cluster.slots.keys()].filter((slot) => cluster.isServing(slot)).length,
      processes: members.length,
      draining: members.filter(({ place }) => place === 'former').length,
      standby: { ready: 0, starting: 0 },
      restarts: this.#restarts,
      reloading: this.#reload.isRunning,
      stopping: this.#run.isStopping,
      shuttingDown: this.#run.isEnding,
      slots: cluster.slotStats(this.#run.isEnding),
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
    const member = [...this.#cluster.members].find((one) => one.id === id);
    if (member === undefined) return false;
    if (member.place === 'former' || member.leaves !== undefined) return true;
    const { slot } = member;
    this.#cluster.event('retire', { worker: id, slot, reason, detail: '', by });
    if (this.#run.isEnding || member.stage === 'starting') return true;
    this.#cluster.replace(member, 'retire', reason);
    return true;
  }

  /** @param {Member} member */
  #onReady(member) {
    const { id, slot } = member;
    const { options } = this.#cluster;
    const now = monotonic();
    member.stage = 'ready';
    this.#startUp.onReady();
    this.#cluster.event('ready', { worker: id, slot, bootMs: Math.round(now - member.since) });
    member.since = now;
    const { age, jitter } = options.recycle;
    if (age > 0) {
      const limit = Math.round(age * (1 + jitter * (2 * random() - 1)));
      member.limitAge(limit, () => this.#onAge(member, limit));
    }
    const place = this.#cluster.slots[slot];
    if (place !== undefined) {
      place.state = 'serving';
      place.reloaded = Math.max(place.reloaded, member.generation);
    }
    if (member.place === 'successor') {
      const old = this.#cluster.at(slot, 'current');
      member.place = 'current';
      old?.drain(old.leaves ?? 'reload', options.drainTimeout);
    }
    this.#advance();
  }

  /** @param {Member} member */
  #onLate(member) {
    const { place } = member;
    member.terminate();
    const reason = `it was not ready in time${MISSED[this.#cluster.options.ready]}`;
    this.#lost(member, place, { code: null, signal: null, reason }, false);
    this.#advance();
  }

  /**
   * @param {Member} member
   * @param {number} limit in ms
   */
  #onAge(member, limit) {
    if (member.place !== 'current' || member.leaves !== undefined || this.#run.isEnding) return;
    const value = Math.round(monotonic() - member.since);
    const { id, slot } = member;
    this.#cluster.event('recycle', { worker: id, slot, cause: 'age', value, limit });
    this.#cluster.replace(member, 'recycle', 'recycle');
  }

  /**
   * @param {Member} member
   * @param {End} end
   */
  #onExit(member, end) {
    if (!this.#cluster.members.delete(member)) return;
    const { slot, place, isReady: wasReady } = member;
    const { backoff } = this.#cluster.options;
    if (wasReady && monotonic() - member.since >= backoff.resetAfter) {
      const its = this.#cluster.slots[slot];
      if (its) its.failures = new Failures(backoff);
    }
    if (place !== 'former' && !this.#run.isEnding) this.#lost(member, place, end, wasReady);
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
    const facts = { worker: member.id, slot, ...end };
    if (!wasReady) this.#failStart(slot, member, end);
    const current = this.#cluster.at(slot, 'current');
    if (place === 'successor') {
      // The current worker stays. If it must leave, it gets another successor later.
      if (current?.leaves === undefined || member.cause === 'reload') return current?.stay();
      return this.#again(slot, facts, wasReady, 'successor', member.cause);
    }
    const its = this.#cluster.slots[slot];
    const successor = this.#cluster.at(slot, 'successor');
    if (successor) {
      successor.place = 'current';
      const restarts = its.budget.used(monotonic());
      this.#cluster.event('restart', { ...facts, phase: phase(wasReady), delay: 0, restarts });
      return;
    }
    if (this.#callsForAnother(end)) return this.#again(slot, facts, wasReady, 'current', 'restart');
    its.state = 'stopped';
    its.failure = end.code === 0 ? null : end.reason;
    this.#cluster.event('stopped', facts);
  }

  /**
   * Starts another worker after a failure, at once or after a wait, if the budgets allow it.
   * @param {number} slot
   * @param {End & { worker: number | null }} facts
   * @param {boolean} wasReady
   * @param {'current' | 'successor'} place
   * @param {Cause} cause
   */
  #again(slot, facts, wasReady, place, cause) {
    const cluster = this.#cluster;
    const its = cluster.slots[slot];
    const delay = its.failures.add(wasReady, random());
    const at = monotonic() + delay;
    const spent = [its.budget, this.#total].find((budget) => !budget.admits(at));
    if (!wasReady && this.#startUp.isOver(at, its.failures.count, cluster.options.startUpLimit)) {
      const period = this.#startUp.period();
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
    cluster.event('restart', { ...facts, phase: phase(wasReady), delay, restarts: its.budget.used(at) });
    if (delay > 0) cluster.event('backoff', { slot, delay, failures: its.failures.count });
    if (place === 'current') its.state = 'backing-off';
    its.wait = setTimeout(() => cluster.start(slot, place, cause), delay);
  }

  /**
   * @param {number} slot
   * @param {End & { worker: number | null }} facts
   * @param {{ scope: 'slot' | 'total' | 'start-up', restarts: number, period: number }} limit
   */
  #giveUp(slot, facts, limit) {
    const its = this.#cluster.slots[slot];
    its.state = 'given-up';
    its.failure = facts.reason;
    this.#cluster.event('gave-up', { ...facts, ...limit });
    if (this.#cluster.options.onGiveUp === 'exit') this.#endForFailure(facts.reason);
  }

  /** @param {string} reason */
  #endForFailure(reason) {
    const { giveUpExitCode, shutdownTimeout } = this.#cluster.options;
    // After an announced shutdown this is not a failure: it only ends earlier.
    const code = this.#run.isAnnounced ? undefined : giveUpExitCode;
    this.#run.cancel();
    this.#end(shutdownTimeout, code, reason);
  }

  /** @param {End} end */
  #callsForAnother({ code }) {
    const { restart, stopExitCodes } = this.#cluster.options;
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
    this.#scale.onFailure(slot, failure);
    this.#reload.onFailure(member, failure);
  }

  /** Continues what is in progress: a reload, a scaling, the shutdown. */
  #advance() {
    if (!this.#run.isEnding) {
      const reason = this.#cluster.hopeless();
      if (reason) this.#endForFailure(reason);
    }
    if (this.#run.isEnding) return this.#finishEnd();
    this.#reload.advance();
    if (!this.#reload.isRunning) this.#scale.advance();
  }

  /**
   * @param {number} timeout in ms
   * @param {number | undefined} code the exit code of the primary, if supervision has given up
   * @param {string} [reason] the last failure in that case
   */
  #end(timeout, code, reason) {
    if (this.#run.end(code)) {
      const gaveUp = code !== undefined;
      const why = { reason: gaveUp ? reason : null, exitCode: code ?? null };
      this.#cluster.event('shutdown', { gaveUp, ...why, timeout });
      this.#abandon();
    }
    this.#cluster.close(timeout);
  }

  /** Requests that need other workers fail. */
  #abandon() {
    this.#reload.abandon(shutDown());
    this.#scale.end(shutDown());
  }

  #finishEnd() {
    if (this.#cluster.members.size > 0) return;
    const { requests, exitCode } = this.#run.finish();
    this.#cluster.answer(requests, null);
    if (exitCode !== undefined) this.#cluster.stop(exitCode);
  }
}

/** @param {boolean} wasReady */
function phase(wasReady) {
  return wasReady ? 'service' : 'start-up';
}

function shutDown() {
  return { code: 'ERR_RCLUSTER_SHUT_DOWN', message: 'the cluster is shut down' };
}

module.exports = { Engine };
