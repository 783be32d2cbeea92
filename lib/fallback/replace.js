'use strict';

const { clearTimeout, monotonic, random, setTimeout } = require('../globals');
const { Budget, StartUp } = require('./restarts');

/**
 * @typedef {InstanceType<typeof import('./cluster').Cluster>} Cluster
 * @typedef {InstanceType<typeof import('./reload').Reload>} Reload
 * @typedef {InstanceType<typeof import('./scale').Scale>} Scale
 * @typedef {InstanceType<typeof import('./recycle').Recycling>} Recycling
 * @typedef {import('./cluster').Member} Member
 * @typedef {import('./member').Cause} Cause
 * @typedef {import('./member').End} End
 *
 * The failure of a worker. Also a retirement, or an end that the policy may not count as a failure.
 * @typedef {object} Loss
 * @property {Member} member
 * @property {End} end
 * @property {boolean} wasReady
 * @property {boolean} [retires]
 */

/** The reasons of a worker that retires after an exception. */
const THROWN = ['uncaughtException', 'unhandledRejection'];

/** What happens to a slot when its worker has ended or is about to. */
class Replacement {
  /** The total number of restarts. */
  restarts = 0;
  startUp = new StartUp();
  #cluster;
  #changes;
  /** @type {InstanceType<typeof Budget>} */
  #total = /** @type {any} */ (undefined);
  /** @type {string | undefined} The last failure, if a slot was given up since it was taken. */
  #gaveUp;

  /**
   * @param {Cluster} cluster
   * @param {{ reload: Reload, scale: Scale, recycling: Recycling }} changes
   */
  constructor(cluster, changes) {
    this.#cluster = cluster;
    this.#changes = changes;
  }

  begin() {
    this.#total = new Budget(this.#cluster.options.totalIntensity);
    this.startUp.begin();
  }

  /** The last failure, if a slot was given up since the last call. */
  takeGaveUp() {
    const reason = this.#gaveUp;
    this.#gaveUp = undefined;
    return reason;
  }

  /**
   * A worker is to leave at its own request or the app's.
   * @param {Member} member
   * @param {string} reason
   * @param {boolean} hasLeft It serves no longer: it has disconnected.
   */
  retire(member, reason, hasLeft) {
    const cluster = this.#cluster;
    const { slot, place, isReady: wasReady } = member;
    const end = { code: null, signal: null, reason: `it retired (${reason})` };
    const loss = { member, end, wasReady, retires: true };
    cluster.noteHealth(member);
    member.why = { detail: end.reason, ...(THROWN.includes(reason) && { reason: 'exception' }) };
    if (place === 'current' && !member.leavesSoon && this.#isForGood(slot, hasLeft)) {
      if (!wasReady) this.#changes.reload.onFailure(member, notReady(loss));
      const its = cluster.slots[slot];
      its.state = 'ending';
      its.last = member;
      member.drain(reason, cluster.options.drainTimeout);
    } else if (place === 'current' && wasReady && !hasLeft) {
      // It keeps serving until its successor is ready, which costs no availability.
      if (!cluster.at(slot, 'successor')) this.#again(loss, true);
      member.leaveSoon(reason);
    } else {
      member.drain(reason, cluster.options.drainTimeout);
      this.lose(loss, place);
    }
  }

  /**
   * A process has ended, or could not be started.
   * @param {Member} member
   * @param {End} end
   */
  onExit(member, end) {
    const { slot, place, isReady: wasReady } = member;
    this.#cluster.noteHealth(member);
    if (place !== 'former') return this.lose({ member, end, wasReady }, place);
    // Usually the way in which a former worker ends does not matter.
    const its = this.#cluster.slots[slot];
    if (its?.state === 'ending' && its.last === member) {
      this.#replaceByPolicy({ member, end, wasReady: true });
    }
  }

  /**
   * A worker that was current or a successor has ended or is about to.
   * @param {Loss} loss
   * @param {'current' | 'successor' | 'former'} place What it was.
   */
  lose(loss, place) {
    const cluster = this.#cluster;
    const { member, end, wasReady, retires = false } = loss;
    const { slot } = member;
    if (!wasReady && !retires) member.why = { reason: 'startup', detail: end.reason };
    if (!wasReady) this.#changes.reload.onFailure(member, notReady(loss));
    if (place === 'successor') return this.#loseSuccessor(loss);
    if (!wasReady) this.#changes.scale.onFailure(slot, notReady(loss));
    const successor = cluster.at(slot, 'successor');
    if (successor) successor.place = 'current';
    // If its end was expected, it was handled when that was decided.
    if (member.leavesSoon) return;
    if (!successor) this.#replaceByPolicy(loss);
    else if (!retires) this.#tellRestart(loss, 0);
  }

  /**
   * The current worker stays. If it must leave, it gets another successor.
   * @param {Loss} loss
   */
  #loseSuccessor(loss) {
    const { slot } = loss.member;
    const current = this.#cluster.at(slot, 'current');
    if (!current) return;
    if (current.leavesSoon) return this.#again(loss, true);
    const isRecycled = current.leaves === 'recycle';
    current.stay();
    if (isRecycled) this.#changes.recycling.putOff(slot);
  }

  /**
   * Whether the slot stays empty, unless the way in which its worker ends changes that.
   * @param {number} slot
   * @param {boolean} hasLeft It has announced its end, so it will exit with code 0.
   */
  #isForGood(slot, hasLeft) {
    const { restart } = this.#cluster.options;
    if (this.#cluster.at(slot, 'successor')) return false;
    return restart === 'never' || (restart === 'on-failure' && hasLeft);
  }

  /**
   * Replaces a worker, or does not if the policy says so.
   * @param {Loss} loss
   */
  #replaceByPolicy(loss) {
    const { member, end, retires = false } = loss;
    if (this.#callsForAnother(end)) return this.#again(loss, false);
    const its = this.#cluster.slots[member.slot];
    its.state = 'stopped';
    its.failure = end.code === 0 || retires ? null : end.reason;
    this.#changes.scale.onFailure(member.slot, notReady(loss));
    this.#cluster.event('stopped', about(loss));
  }

  /** @param {End} end */
  #callsForAnother({ code }) {
    const { restart, stopExitCodes } = this.#cluster.options;
    if (code !== null && stopExitCodes.includes(code)) return false;
    return restart === 'always' || (restart === 'on-failure' && code !== 0);
  }

  /**
   * Starts another worker after a failure, at once or after a wait, if the budgets allow it.
   * @param {Loss} loss
   * @param {boolean} stays Whether a worker serves until then: only the backoff limits its replacement.
   */
  #again(loss, stays) {
    const cluster = this.#cluster;
    const { member, wasReady, retires = false } = loss;
    const { slot } = member;
    const its = cluster.slots[slot];
    const delay = its.failures.add(wasReady, random());
    const now = monotonic();
    const at = now + delay;
    if (!stays) {
      const limit = this.#limit(slot, wasReady, at);
      if (limit) return this.#giveUp(loss, limit);
      its.budget.spend(now, at);
      this.#total.spend(now, at);
    }
    its.restarts++;
    this.restarts++;
    // A retirement has its own event.
    if (!retires) this.#tellRestart(loss, delay);
    if (delay > 0) cluster.event('backoff', { slot, delay, failures: its.failures.count });
    its.state = delay > 0 ? 'backing-off' : 'filling';
    clearTimeout(its.wait);
    its.wait = setTimeout(() => cluster.start(slot, retires ? 'retire' : 'restart'), delay);
  }

  /**
   * The limit that forbids one more restart at that time, if any.
   * @param {number} slot
   * @param {boolean} wasReady
   * @param {number} at
   */
  #limit(slot, wasReady, at) {
    const { budget, failures, restarts } = this.#cluster.slots[slot];
    const { startUpLimit } = this.#cluster.options;
    if (!wasReady && this.startUp.isOver(at, failures.count, startUpLimit)) {
      return { scope: 'start-up', restarts, period: this.startUp.period() };
    }
    const spent = [budget, this.#total].find((one) => !one.admits(at));
    if (spent === undefined) return undefined;
    const scope = spent === budget ? 'slot' : 'total';
    return { scope, restarts: spent.used(at), period: spent.period };
  }

  /**
   * @param {Loss} loss
   * @param {{ scope: string, restarts: number, period: number }} limit
   */
  #giveUp(loss, limit) {
    const { slot } = loss.member;
    const { reason } = loss.end;
    const its = this.#cluster.slots[slot];
    its.state = 'given-up';
    its.failure = reason;
    this.#gaveUp = reason;
    this.#changes.scale.onFailure(slot, notReady(loss));
    this.#cluster.event('gave-up', { ...about(loss), ...limit });
  }

  /**
   * @param {Loss} loss
   * @param {number} delay in ms
   */
  #tellRestart(loss, delay) {
    const restarts = this.#cluster.slots[loss.member.slot].budget.used(monotonic());
    this.#cluster.event('restart', { ...about(loss), delay, restarts });
  }
}

/**
 * The facts that are common to all events about a worker that has ended.
 * @param {Loss} loss
 */
function about({ member: { id, slot }, end: { code, signal, reason }, wasReady }) {
  const phase = wasReady ? 'service' : 'start-up';
  // Workers write to stderr themselves, so its last lines are not known.
  return { worker: id, slot, code, signal, reason, error: null, phase, stderrTail: null };
}

/**
 * The answer to requests that waited for a worker in this slot.
 * @param {Loss} loss
 */
function notReady({ member: { slot }, end: { reason } }) {
  const message = `the new worker of slot ${slot} did not get ready: ${reason}`;
  return { code: 'ERR_RCLUSTER_NOT_READY', message };
}

module.exports = { Replacement };
