'use strict';

const { Math, clearTimeout, monotonic, setTimeout } = require('../globals');

/** Whether the cluster runs, is about to end, or ends. */
class Run {
  isEnding = false;
  /** @type {number[]} The requests that wait for the end. */
  #requests = [];
  /** @type {NodeJS.Timeout | undefined} Set between the announcement and the end. */
  #announced;
  /** When the announced end begins, in ms. */
  #begins = Infinity;
  /** How long the drains of the announced end may take, in ms. */
  #timeout = Infinity;
  /** @type {number | undefined} The exit code of the primary, if supervision has given up. */
  #exitCode;

  get isAnnounced() {
    return this.#announced !== undefined;
  }

  /** Whether requests for other workers are refused. */
  get isStopping() {
    return this.isAnnounced || this.isEnding;
  }

  /**
   * Calls back after the delay, at once if there is none or if the end has begun. A further announcement can only
   * make the end earlier and its drains shorter.
   * @param {number} delay in ms
   * @param {number} timeout in ms
   * @param {number} request Answered at the end.
   * @param {(timeout: number) => void} end
   * @returns {boolean} whether the end is announced now, and was not before
   */
  announce(delay, timeout, request, end) {
    this.#requests.push(request);
    const isNew = !this.isAnnounced;
    if (this.isEnding || delay === 0) {
      this.cancel();
      end(timeout);
      return false;
    }
    const now = monotonic();
    this.#begins = Math.min(this.#begins, now + delay);
    this.#timeout = Math.min(this.#timeout, timeout);
    clearTimeout(this.#announced);
    this.#announced = setTimeout(() => {
      this.cancel();
      end(this.#timeout);
    }, this.#begins - now);
    return isNew;
  }

  /** The end does not wait any longer. */
  cancel() {
    clearTimeout(this.#announced);
    this.#announced = undefined;
  }

  /**
   * Begins the end.
   * @param {number | undefined} exitCode
   * @returns {boolean} false if it has begun before
   */
  end(exitCode) {
    if (this.isEnding) return false;
    this.isEnding = true;
    this.#exitCode = exitCode;
    return true;
  }

  /** All workers have ended. Returns the requests to answer, and once the exit code. */
  finish() {
    const exitCode = this.#exitCode;
    this.#exitCode = undefined;
    return { requests: this.#requests.splice(0), exitCode };
  }
}

module.exports = { Run };
