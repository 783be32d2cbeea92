'use strict';

const { Object, Set, process } = require('../globals');
const { stackOf } = require('../text');

// `cluster.schedule()`: the app's hook chooses the workers. The dispatcher's thread asks about several
// connections at once if there are several, and waits for the answers no longer than its time limit.

/**
 * @typedef {import('../../index').ScheduleHook} ScheduleHook
 * @typedef {import('../../index').ScheduledConnection} ScheduledConnection
 * @typedef {import('../../index').ScheduleCandidate} ScheduleCandidate
 *
 * @typedef {{ -readonly [Key in keyof ScheduleCandidate]: ScheduleCandidate[Key] }} Candidate
 *
 * A batch as the native part sends it, without the Worker objects.
 * @typedef {{
 *   batch: number,
 *   about: { hook: number, candidates: Candidate[], connections: ScheduledConnection[] }[],
 * }} HookBatch
 */

/** Answers instead of a worker's id: any worker, or no valid answer. */
const ANYBODY = 0;
const REFUSED = -1;

/** The mistakes in an answer, by the code of the warning. */
const WRONG = {
  RCLUSTER_HOOK_THREW: 'threw an error',
  RCLUSTER_HOOK_PROMISE:
    'returned a promise, but its answer is needed at once: it must not be an async function',
  RCLUSTER_HOOK_INVALID: 'returned something that is neither a worker nor the id of one',
  RCLUSTER_HOOK_UNKNOWN_WORKER: 'returned a worker that does not listen there, or not any more',
};

/** Asks the hooks for the workers of connections, and warns of each kind of mistake once. */
class HookAnswers {
  /** @type {(id: number) => import('../../index').Worker | undefined} */
  #workerOf;

  /** @type {Set<string>} */
  #warned = new Set();

  /** @param {(id: number) => import('../../index').Worker | undefined} workerOf */
  constructor(workerOf) {
    this.#workerOf = workerOf;
  }

  /**
   * @param {readonly ScheduleHook[]} hooks
   * @param {HookBatch} batch
   * @returns {number[]} In the order of the connections.
   */
  to(hooks, { about }) {
    const answers = [];
    for (const { hook, candidates, connections } of about) {
      const listening = candidates.filter((candidate) => this.#introduce(candidate));
      const ready = listening.filter((candidate) => candidate.ready);
      const offered = ready.length > 0 ? ready : listening;
      for (const connection of connections) {
        answers.push(
          offered.length > 0
            ? this.#answer(hooks[hook], Object.freeze(connection), offered, listening)
            : ANYBODY,
        );
      }
    }
    return answers;
  }

  /**
   * @param {Candidate} candidate
   * @returns {boolean} False if the worker's end has been reported to the app.
   */
  #introduce(candidate) {
    const worker = this.#workerOf(candidate.id);
    if (worker === undefined) return false;
    candidate.worker = worker;
    return true;
  }

  /**
   * @param {ScheduleHook} hook
   * @param {ScheduledConnection} connection
   * @param {readonly Candidate[]} offered
   * @param {readonly Candidate[]} listening
   */
  #answer(hook, connection, offered, listening) {
    try {
      // A copy, because the hook may sort it.
      /** @type {any} */
      const choice = hook(connection, [...offered]);
      if (choice === undefined || choice === null) return ANYBODY;
      const id = typeof choice === 'number' ? choice : choice.id;
      const chosen = listening.find((candidate) => candidate.id === id);
      if (chosen !== undefined) {
        // Counted here, because the hook is called for the next connection before this one arrives.
        chosen.connections++;
        return chosen.id;
      }
      if (typeof choice.then === 'function') {
        choice.then(undefined, (/** @type {unknown} */ error) => this.#warn('RCLUSTER_HOOK_THREW', error));
        return this.#warn('RCLUSTER_HOOK_PROMISE', choice);
      }
      return this.#warn(
        typeof id === 'number' ? 'RCLUSTER_HOOK_UNKNOWN_WORKER' : 'RCLUSTER_HOOK_INVALID',
        choice,
      );
    } catch (error) {
      return this.#warn('RCLUSTER_HOOK_THREW', error);
    }
  }

  /**
   * @param {keyof typeof WRONG} code
   * @param {unknown} cause
   */
  #warn(code, cause) {
    if (!this.#warned.has(code)) {
      this.#warned.add(code);
      const message = `The function given to cluster.schedule() ${WRONG[code]}. Such connections go to workers in turn; this is told once`;
      process.emitWarning(message, { code, detail: stackOf(cause) });
    }
    return REFUSED;
  }
}

module.exports = { HookAnswers };
