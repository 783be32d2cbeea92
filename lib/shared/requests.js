'use strict';

const { JSON, Promise, setImmediate } = require('../globals');
const { failure } = require('./errors');
const steps = require('./steps');

/** The maximum number of answers that are taken at once. */
const ANSWERS = 256;

/** The maximum number of answers that are taken before the event loop gets a turn. */
const DIRECT = 128;

/**
 * @typedef {import('../../binding').SharedStore} NativeStore
 * @typedef {import('./steps').Step} Step
 *
 * The answer to a request.
 * @typedef {{ status: number, revision: number, number: number }} Answer
 * @typedef {{ resolve: (value: any) => void, reject: (error: Error) => void, result: (answer: Answer) => any, keys: string | string[] }} Waiting
 */

/** The requests of this process to a store, and the promises of those that are not answered yet. */
class Requests {
  /** @type {NativeStore} */
  #native;

  /** The name of the store. */
  #name;

  /** @type {ReturnType<NativeStore['adder']>} */
  #add;

  /** @type {ReturnType<NativeStore['submitter']>} */
  #submit;

  /** @type {ReturnType<NativeStore['taker']>} */
  #take;

  /** @type {() => void} called when something may have changed in the store */
  #look;

  /** @type {Waiting[]} in the order of the requests; those before `#first` have been settled */
  #waiting = [];

  #first = 0;

  /** Whether `#collectSoon()` is scheduled to take the answers. */
  #collecting = false;

  /** How many answers were taken since the event loop last had a turn. */
  #direct = 0;

  /** Whether this object keeps the process alive. */
  #held = false;

  /** How many callers of `hold()` keep the process alive. */
  #holders = 0;

  #answers = new Float64Array(3 * ANSWERS);

  #closed = false;

  /**
   * @param {NativeStore} native
   * @param {() => void} look
   * @param {string} name of the store
   */
  constructor(native, look, name) {
    this.#native = native;
    this.#name = name;
    this.#add = native.adder();
    this.#submit = native.submitter();
    this.#take = native.taker();
    this.#look = look;
  }

  /** Whether the store can no longer be written to. */
  get closed() {
    return this.#closed;
  }

  /**
   * Writes one step. Not an async function, because that would create three promises.
   * @param {() => Step} make creates the step; if it throws, the promise rejects
   * @param {(answer: Answer) => any} result
   * @returns {Promise<any>}
   */
  ask(make, result) {
    try {
      return this.write([make()], result);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * @param {Step[]} request
   * @param {(answer: Answer) => any} result
   * @returns {Promise<any>}
   */
  write(request, result) {
    if (this.#closed) throw gone();
    steps.send(this.#native, this.#add, this.#submit, request);
    if (!this.#collecting) void this.#collectSoon();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject, result, keys: steps.keysOf(request) });
    });
  }

  /**
   * Keeps the process alive, as unanswered requests do.
   * @returns {() => void} a function that releases it
   */
  hold() {
    this.#holders += 1;
    this.#holdLoop();
    return () => {
      this.#holders -= 1;
      this.#holdLoop();
    };
  }

  /** The native side reports that answers may have arrived. */
  onNews() {
    this.#direct = 0;
    this.#collect(false);
    this.#holdLoop();
    this.#look();
  }

  /** The store is gone: takes the answers that have arrived, and rejects all other requests. */
  onEnd() {
    this.onNews();
    this.close();
    for (const { reject } of this.#waiting.splice(0).slice(this.#first)) reject(gone());
    this.#first = 0;
    this.#look();
  }

  close() {
    this.#closed = true;
    this.#native.stop();
    if (this.#held) this.#native.hold(false);
    this.#held = false;
  }

  /**
   * Takes the answers to everything written in this round of microtasks without returning to the event
   * loop, if the writer is fast enough. After DIRECT answers it waits for the event loop instead, so that the
   * loop is not starved.
   */
  async #collectSoon() {
    this.#collecting = true;
    await undefined;
    if (this.#direct < DIRECT) {
      this.#collecting = false;
      this.#direct += this.#collect(true);
      this.#look();
      this.#holdLoop();
    } else {
      // setImmediate keeps the event loop alive by itself.
      setImmediate(() => {
        this.#collecting = false;
        this.#direct = 0;
        this.#collect(false);
        this.#look();
        this.#holdLoop();
      });
    }
  }

  /**
   * Takes the answers that have arrived. The native side calls `onNews()` when there are more.
   * @param {boolean} wait whether to wait briefly for answers that are about to arrive
   * @returns {number} how many were taken
   */
  #collect(wait) {
    const answers = this.#answers;
    let all = 0;
    let count;
    do {
      count = this.#take(answers, wait);
      for (let at = 0; at < 3 * count; at += 3) {
        this.#settle({ status: answers[at], revision: answers[at + 1], number: answers[at + 2] });
      }
      all += count;
    } while (count === ANSWERS);
    return all;
  }

  /** Unanswered requests keep the process alive. */
  #holdLoop() {
    const hold = !this.#closed && (this.#first < this.#waiting.length || this.#holders > 0);
    if (this.#held === hold) return;
    this.#held = hold;
    this.#native.hold(hold);
  }

  /** @param {Answer} answer */
  #settle(answer) {
    const { resolve, reject, result, keys } = this.#waiting[this.#first];
    this.#first += 1;
    if (this.#first === this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
    } else if (this.#first === 1024) {
      this.#waiting.splice(0, this.#first);
      this.#first = 0;
    }
    switch (answer.status) {
      case 0:
      case 1:
        return resolve(result(answer));
      case 2:
        return reject(steps.notNumber(keys));
      case 3:
        return reject(full(this.#name, this.#native));
      case 4:
        return reject(steps.tooLarge(this.#native, keys));
      case 6:
      case 7:
      case 8:
        return reject(require('./server').refusal(this.#native, answer.status));
      default:
        return reject(failure('ERR_RCLUSTER_SHARED', 'The store does not understand the request'));
    }
  }
}

/**
 * @param {string} name
 * @param {NativeStore} native
 */
function full(name, native) {
  const used = `${native.field(2)} of ${native.field(7)} bytes are used`;
  const message = `The store ${JSON.stringify(name)} is full (${used}): nothing has been written`;
  return failure('ERR_RCLUSTER_FULL', message);
}

function gone() {
  return failure(
    'ERR_RCLUSTER_GONE',
    'The primary of this process is gone, and with it the store: it can only be read',
  );
}

module.exports = { Requests, gone };
