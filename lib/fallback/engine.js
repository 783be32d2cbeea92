'use strict';

// Supervision without the native part: the decisions of crates/core/src/control/supervise in JavaScript,
// carried out by the built-in cluster. It has the methods of the native part, so an app sees the same
// Supervisor class.

const { JSON, Math, monotonic, nextTick } = require('../globals');
const { Cluster } = require('./cluster');
const { Recycling } = require('./recycle');
const { Reload } = require('./reload');
const { Replacement } = require('./replace');
const { Run } = require('./run');
const { Scale } = require('./scale');

/** What a worker has not done that was not ready in time, by the option `ready`. */
const MISSED = {
  online: '',
  listening:
    ': none of its servers listens (a program without servers needs the option ready, as in --ready online)',
  explicit: ': it has not called cluster.worker.ready()',
};

/**
 * @typedef {import('../../index').Worker} Worker
 * @typedef {import('./cluster').Member} Member
 * @typedef {import('./cluster').Options} Options
 * @typedef {import('./member').End} End
 */

class Engine {
  #cluster;
  #reload;
  #scale;
  #recycling;
  #replacement;
  #run = new Run();

  /**
   * @param {(template: any, slot: number, drainTimeout: number) => Worker} fork
   * @param {(message: object) => void} tell
   */
  constructor(fork, tell) {
    const cluster = new Cluster(fork, tell, {
      onReady: (member) => this.#onReady(member),
      onLate: (member) => this.#onLate(member),
      onRetire: (member, reason) => this.#onRetireAsked(member, reason),
      onLeft: (member) => this.#retire(member, 'disconnect', 'worker', true),
      onDrainTimeout: ({ id, slot }) => {
        cluster.event('drain-timeout', { worker: id, slot, connections: null, resources: {} });
      },
      onExit: (member, end) => this.#onExit(member, end),
    });
    const reload = new Reload(cluster);
    const scale = new Scale(cluster);
    const recycling = new Recycling(cluster, () => this.#advance());
    this.#cluster = cluster;
    this.#reload = reload;
    this.#scale = scale;
    this.#recycling = recycling;
    this.#replacement = new Replacement(cluster, { reload, scale, recycling });
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
    this.#replacement.begin();
    for (let slot = 0; slot < options.workers; slot++) cluster.setSlot(slot);
    // The app has its Supervisor by then, and can listen for events.
    nextTick(() => {
      for (const slot of cluster.wanted) cluster.start(slot, 'start');
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
    this.#replacement.startUp.begin();
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
      workers: cluster.wanted.length,
      ready: cluster.wanted.filter((slot) => cluster.isServing(slot)).length,
      processes: members.length,
      draining: members.filter(({ place }) => place === 'former').length,
      standby: { ready: 0, starting: 0 },
      restarts: this.#replacement.restarts,
      reloading: this.#reload.isRunning,
      stopping: this.#run.isStopping,
      shuttingDown: this.#run.isEnding,
      slots: cluster.slotStats(this.#run.isEnding),
      lastExits: cluster.lastExits,
    });
  }

  /**
   * Replaces and drains a worker at the app's request.
   * @param {number} id
   * @param {string} reason
   * @returns {boolean} whether it is a supervised worker
   */
  retire(id, reason) {
    const member = [...this.#cluster.members].find((one) => one.id === id);
    if (member === undefined) return false;
    this.#retire(member, reason, 'primary');
    return true;
  }

  /**
   * @param {Member} member
   * @param {string} reason
   */
  #onRetireAsked(member, reason) {
    // The whole process group got the signal, the primary before the others.
    if (this.#run.isAnnounced && reason === 'SIGTERM') return;
    this.#retire(member, reason, 'worker');
  }

  /**
   * @param {Member} member
   * @param {string} reason
   * @param {'worker' | 'primary'} by
   * @param {boolean} [hasLeft] It serves no longer.
   */
  #retire(member, reason, by, hasLeft = false) {
    if (member.place === 'former' || (member.leavesSoon && !hasLeft)) return;
    const { id, slot, leavesSoon } = member;
    if (!leavesSoon) this.#cluster.event('retire', { worker: id, slot, reason, detail: '', by });
    this.#replacement.retire(member, reason, hasLeft);
    this.#advance();
  }

  /** @param {Member} member */
  #onReady(member) {
    const { id, slot } = member;
    const now = monotonic();
    member.stage = 'ready';
    this.#replacement.startUp.onReady();
    this.#cluster.event('ready', { worker: id, slot, bootMs: Math.round(now - member.since) });
    member.since = now;
    this.#recycling.watch(member);
    const old = this.#cluster.at(slot, 'current');
    if (member.place === 'successor') {
      member.place = 'current';
      if (old) this.#cluster.sendOff(old, old.leaves ?? 'reload');
    }
    const its = this.#cluster.slots[slot];
    its.state = 'serving';
    its.reloaded = Math.max(its.reloaded, member.generation);
    this.#advance();
  }

  /** @param {Member} member */
  #onLate(member) {
    const { place } = member;
    member.terminate();
    const reason = `it was not ready in time${MISSED[this.#cluster.options.ready]}`;
    this.#replacement.lose({ member, end: { code: null, signal: null, reason }, wasReady: false }, place);
    this.#advance();
  }

  /**
   * @param {Member} member
   * @param {End} end
   */
  #onExit(member, end) {
    if (!this.#cluster.members.delete(member)) return;
    if (!this.#run.isEnding) this.#replacement.onExit(member, end);
    this.#cluster.noteExit(member, end);
    this.#advance();
  }

  /** Continues what is in progress: a reload, a scaling, the shutdown. */
  #advance() {
    if (this.#run.isEnding) return this.#finishEnd();
    const { onGiveUp } = this.#cluster.options;
    const gaveUp = this.#replacement.takeGaveUp();
    const reason = (onGiveUp === 'exit' ? gaveUp : undefined) ?? this.#cluster.hopeless();
    if (reason) {
      this.#endForFailure(reason);
      return this.#finishEnd();
    }
    this.#reload.advance();
    if (!this.#reload.isRunning) this.#scale.begin();
    this.#recycling.start(this.#reload.isRunning);
    this.#scale.answer();
    this.#cluster.forgetEmpty();
  }

  /** @param {string} reason */
  #endForFailure(reason) {
    const { giveUpExitCode, shutdownTimeout } = this.#cluster.options;
    // After an announced shutdown this is not a failure: it only ends earlier.
    const code = this.#run.isAnnounced ? undefined : giveUpExitCode;
    this.#run.cancel();
    this.#end(shutdownTimeout, code, reason);
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

function shutDown() {
  return { code: 'ERR_RCLUSTER_SHUT_DOWN', message: 'the cluster is shut down' };
}

module.exports = { Engine };
