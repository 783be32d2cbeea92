'use strict';

const { Error, Object, Set, process } = require('../globals');
const { inspect } = require('node:util');

// `cluster.schedule()`: the app says where connections go. The questions come from the dispatcher's thread, several at
// once when there are several, and it does not wait for the answers longer than it was told to.

/**
 * @typedef {import('../../index').ScheduleHook} ScheduleHook
 * @typedef {import('../../index').ScheduledConnection} ScheduledConnection
 * @typedef {import('../../index').ScheduleCandidate} ScheduleCandidate
 *
 * @typedef {{ -readonly [Key in keyof ScheduleCandidate]: ScheduleCandidate[Key] }} Candidate
 *
 * As the native part writes it, where the workers are still missing.
 * @typedef {{
 *   batch: number,
 *   about: { hook: number, candidates: Candidate[], questions: ScheduledConnection[] }[],
 * }} Questions
 */

/** What is answered in place of a worker's id: whoever is next, or that there was no proper answer. */
const ANYBODY = 0;
const REFUSED = -1;

/** What may be wrong with an answer, by the code of the warning. */
const WRONG = {
  RCLUSTER_HOOK_THREW: 'threw an error',
  RCLUSTER_HOOK_PROMISE:
    'returned a promise, but its answer is needed at once: it must not be an async function',
  RCLUSTER_HOOK_INVALID: 'returned something that is neither a worker nor the id of one',
  RCLUSTER_HOOK_UNKNOWN_WORKER: 'returned a worker that does not listen there, or not any more',
};

/** Answers questions, and warns of each kind of mistake once. */
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
   * @param {Questions} questions
   * @returns {number[]} In the order of the questions.
   */
  to(hooks, { about }) {
    const answers = [];
    for (const { hook, candidates, questions } of about) {
      const listening = candidates.filter((candidate) => this.#introduce(candidate));
      const ready = listening.filter((candidate) => candidate.ready);
      const offered = ready.length > 0 ? ready : listening;
      for (const question of questions) {
        answers.push(
          offered.length > 0
            ? this.#answer(hooks[hook], Object.freeze(question), offered, listening)
            : ANYBODY,
        );
      }
    }
    return answers;
  }

  /**
   * @param {Candidate} candidate
   * @returns {boolean} False if the app has been told of its end.
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
      // The list is the hook's to sort.
      /** @type {any} */
      const choice = hook(connection, [...offered]);
      if (choice === undefined || choice === null) return ANYBODY;
      const id = typeof choice === 'number' ? choice : choice.id;
      const chosen = listening.find((candidate) => candidate.id === id);
      if (chosen !== undefined) {
        // The next one is asked about before anybody could count this one.
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
      process.emitWarning(message, { code, detail: describe(cause) });
    }
    return REFUSED;
  }
}

/** @param {unknown} cause */
function describe(cause) {
  return cause instanceof Error ? (cause.stack ?? cause.message) : inspect(cause, { depth: 0 });
}

module.exports = { HookAnswers };
